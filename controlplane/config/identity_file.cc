#include "controlplane/config/identity_file.h"

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "common/crypto/random.h"

namespace qanat::controlplane {
namespace {

constexpr std::string_view kLine1 = "qanat-identity-1";
static_assert(kLine1.size() + 64 + 2 == kIdentityTextSize);

constexpr std::string_view kRemedy = "restore the file from a backup, or move it away to get a new identity";

tl::unexpected<Error> bad_line(size_t number, std::string_view what) {
    return fail("line " + std::to_string(number) + ": " + std::string(what) + ": " + std::string(kRemedy));
}

}  // namespace

Result<Identity> parse_identity(std::string_view text) {
    Secret<32> secret;
    size_t lines = 0;
    auto read = for_each_line(text, [&](size_t number, std::string_view line) -> Result<void> {
        lines = number;
        if (number == 1 && line != kLine1) return bad_line(1, "not \"qanat-identity-1\", so this is no identity");
        if (number == 2) {
            auto decoded = decode_hex_secret(line);
            if (!decoded) return bad_line(2, decoded.error().message);
            secret = std::move(*decoded);
        }
        if (number > 2) return bad_line(number, "an identity has two lines and ends there");
        return {};
    });
    if (!read) return tl::unexpected(read.error());
    if (lines < 2) return bad_line(lines + 1, "missing, an identity has two lines");
    return make_key_pair(std::move(secret));
}

Secret<kIdentityTextSize> format_identity(const Identity& identity) {
    Secret<kIdentityTextSize> text;
    Secret<64> digits;
    encode_hex_secret(identity.secret, digits.writable());
    ByteWriter writer(text.writable());
    for (const Bytes line : {as_bytes(kLine1), Bytes(digits.bytes())}) {
        writer.bytes(line);
        writer.u8('\n');
    }
    return text;
}

Result<Identity> load_or_create_identity(const std::string& path) {
    // Twice: between "there is none" and "create it" another process may have created it.
    for (int attempt = 0; attempt < 2; ++attempt) {
        const auto file = read_private_file(path);
        if (!file) return tl::unexpected(file.error());
        if (*file) {
            auto identity = parse_identity((*file)->text());
            if (!identity) return fail(printable(path) + ": " + identity.error().message);
            return identity;
        }
        Secret<32> random;
        crypto::random_bytes(random.writable());
        Identity identity = make_key_pair(std::move(random));
        const auto text = format_identity(identity);
        const auto outcome = create_private_file(path, as_text(text.bytes()));
        if (!outcome) return tl::unexpected(outcome.error());
        if (*outcome == CreateOutcome::created) return identity;
    }
    // The name is taken, yet nothing can be opened behind it.
    return fail(printable(path) + " is a link that leads nowhere: remove it, or give another path with --identity");
}

}  // namespace qanat::controlplane
