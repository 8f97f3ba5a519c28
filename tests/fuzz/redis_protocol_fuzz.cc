// What Redis says: the same bytes, at once and in pieces, are the same replies and the same end. Byte 0: how the input
// is cut.
#include <algorithm>
#include <string>
#include <vector>

#include "controlplane/discovery/redis_protocol.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace qanat;
using namespace qanat::controlplane;
using Kind = RedisReply::Kind;

size_t check_reply(const RedisReply& reply) {
    size_t elements = reply.elements.size();
    FUZZ_CHECK(reply.elements.empty() || reply.kind == Kind::array);
    FUZZ_CHECK(reply.number == 0 || reply.kind == Kind::integer);
    for (const RedisReply& element : reply.elements) elements += check_reply(element);
    return elements;
}

// One line for each reply, as different as the replies are.
void describe(const RedisReply& reply, std::string& out) {
    out += std::to_string(static_cast<int>(reply.kind)) + ':' + std::to_string(reply.number) + ':' +
           std::to_string(reply.text.size()) + ':' + reply.text + '(';
    for (const RedisReply& element : reply.elements) describe(element, out);
    out += ')';
}

// All replies, and the error that ends them, if there is one.
std::string run(Bytes input, size_t piece) {
    RedisParser parser;
    std::string all;
    while (!input.empty()) {
        const Bytes part = input.first(std::min(piece, input.size()));
        input = input.subspan(part.size());
        if (const auto fed = parser.feed(part); !fed) return all + fed.error().message;
        for (;;) {
            const auto reply = parser.next();
            if (!reply) {
                FUZZ_CHECK(!reply.error().message.empty());
                FUZZ_CHECK(reply.error().message.find('\n') == std::string::npos);
                return all + "error";
            }
            if (!*reply) break;
            FUZZ_CHECK(check_reply(**reply) <= RedisParser::kElementsMax);
            describe(**reply, all);
            all += '\n';
        }
    }
    return all;
}

// The input as the words of a command, in pieces: what the formatter writes is what the parser reads.
void check_command(Bytes input, size_t piece) {
    std::vector<std::string> words{"SET"};
    for (; !input.empty() && words.size() < 100; input = input.subspan(std::min(piece, input.size())))
        words.emplace_back(as_text(input.first(std::min(piece, input.size()))));
    RedisParser parser;
    FUZZ_CHECK(parser.feed(as_bytes(format_redis_command(words))).has_value());
    const auto read = parser.next();
    FUZZ_CHECK(read.has_value() && read->has_value());
    const RedisReply& command = **read;
    FUZZ_CHECK(command.kind == Kind::array && command.elements.size() == words.size());
    for (size_t i = 0; i < words.size(); ++i) FUZZ_CHECK(command.elements[i].is_text(words[i]));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes input(data, size);
    const size_t piece = 1 + fuzz::take_byte(input) % 64U;
    const std::string at_once = run(input, SIZE_MAX);
    FUZZ_CHECK(run(input, 1) == at_once);
    FUZZ_CHECK(run(input, piece) == at_once);
    check_command(input, piece);
    return 0;
}
