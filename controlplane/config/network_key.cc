#include "controlplane/config/network_key.h"

#include <array>

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "common/crypto/psk.h"

namespace qanat::controlplane {
namespace {

constexpr std::string_view kLine1 = "/key/swarm/psk/1.0.0/";
constexpr std::string_view kLine2 = "/base16/";
static_assert(kLine1.size() + kLine2.size() + 64 + 3 == kNetworkKeyTextSize);

constexpr std::string_view kRemedy = "make a new key with 'qanat keygen', or copy the file of your network again";

tl::unexpected<Error> bad_line(size_t number, std::string_view what) {
    return fail("line " + std::to_string(number) + ": " + std::string(what) + ": " + std::string(kRemedy));
}

}  // namespace

Result<NetworkKey> parse_network_key(std::string_view text) {
    NetworkKey key;
    size_t lines = 0;
    auto read = for_each_line(text, [&](size_t number, std::string_view line) -> Result<void> {
        lines = number;
        if (number == 1 && line != kLine1)
            return bad_line(1, "not \"/key/swarm/psk/1.0.0/\", so this is no network key");
        if (number == 2 && line != kLine2) return bad_line(2, "not \"/base16/\", the only encoding there is");
        if (number == 3) {
            auto decoded = decode_hex_secret(line);
            if (!decoded) return bad_line(3, decoded.error().message);
            key = std::move(*decoded);
        }
        if (number > 3) return bad_line(number, "a network key has three lines and ends there");
        return {};
    });
    if (!read) return tl::unexpected(read.error());
    if (lines < 3) return bad_line(lines + 1, "missing, a network key has three lines");
    return key;
}

Secret<kNetworkKeyTextSize> format_network_key(const NetworkKey& key) {
    Secret<kNetworkKeyTextSize> text;
    Secret<64> digits;
    encode_hex_secret(key, digits.writable());
    ByteWriter writer(text.writable());
    for (const Bytes line : {as_bytes(kLine1), as_bytes(kLine2), Bytes(digits.bytes())}) {
        writer.bytes(line);
        writer.u8('\n');
    }
    return text;
}

Result<NetworkKey> load_network_key(const std::string& path) {
    const auto file = read_private_file(path);
    if (!file) return tl::unexpected(file.error());
    if (!*file)
        return fail(printable(path) +
                    ": no such file: make a new key with 'qanat keygen', or give the right path with --key");
    auto key = parse_network_key((*file)->text());
    if (!key) return fail(printable(path) + ": " + key.error().message);
    return key;
}

Result<void> write_network_key(const std::string& path, const NetworkKey& key) {
    const auto text = format_network_key(key);
    const auto outcome = create_private_file(path, as_text(text.bytes()));
    if (!outcome) return tl::unexpected(outcome.error());
    if (*outcome == CreateOutcome::existed)
        return fail(printable(path) +
                    " exists and is never overwritten: move it away, or choose another path with --out");
    return {};
}

std::string network_key_fingerprint(const NetworkKey& key) {
    const auto keys = crypto::derive_network_keys(key);
    std::array<char, 17> text{};
    ::sodium_bin2hex(text.data(), text.size(), keys.fingerprint.data(), keys.fingerprint.size());
    return text.data();
}

}  // namespace qanat::controlplane
