// The SOCKS5 machine: the same bytes, at once and in pieces, lead to the same end. Byte 0: bit 0 = users are required,
// the rest = how the input is cut.
#include <string>

#include "common/crypto/sha256.h"
#include "dataplane/socks5/server.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace qanat;
using dataplane::Socks5Server;
using Kind = Socks5Server::Step::Kind;

const dataplane::Socks5Users& users() {
    static const dataplane::Socks5Users made = [] {
        ring::Users message{};
        message.required = 1;
        message.count = 1;
        message.tags[0] = crypto::hmac_sha256(message.salt, {as_bytes("\x01u"), as_bytes("p")});
        return dataplane::Socks5Users(message);
    }();
    return made;
}

struct End {
    Kind kind = Kind::need_more;
    ring::EndReason reason = ring::EndReason::none;
    std::string output;
    std::string target;
    size_t consumed = 0;
    bool operator==(const End&) const = default;
};

End run(Bytes input, const dataplane::Socks5Users* login, size_t piece) {
    Socks5Server server(login);
    End end;
    size_t from = 0;
    for (size_t to = 0; to < input.size() && end.kind == Kind::need_more;) {
        to = piece > input.size() - to ? input.size() : to + piece;
        const auto step = server.feed(input.subspan(from, to - from));
        FUZZ_CHECK(step.consumed <= to - from);
        from += step.consumed;
        FUZZ_CHECK(step.kind != Kind::need_more || to - from < dataplane::kSocks5MessageSizeMax);
        FUZZ_CHECK((step.kind == Kind::refuse) == (step.reason != ring::EndReason::none));
        end.kind = step.kind;
        end.reason = step.reason;
        end.output += as_text(server.take_output());
    }
    if (end.kind == Kind::request) {
        end.target = server.target().format();
        end.consumed = from;
    }
    return end;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes input(data, size);
    const uint8_t choice = fuzz::take_byte(input);
    const auto* login = (choice & 1) != 0 ? &users() : nullptr;
    const End at_once = run(input, login, input.size());
    FUZZ_CHECK(run(input, login, 1) == at_once);
    FUZZ_CHECK(run(input, login, 1 + choice / 2U) == at_once);
    return 0;
}
