// Announcements. Byte 0: whether the rest is a value as it lies in Redis, or a plaintext that a member of the network
// seals, perhaps with a bit changed afterwards. What opens is within the bounds, and comes back the same when it is
// sealed again.
#include <algorithm>
#include <string>
#include <vector>

#include "common/crypto/hkdf.h"
#include "controlplane/discovery/announcement.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace qanat;
using namespace qanat::controlplane;

constexpr std::string_view kTopic = "fuzz";
constexpr AnnouncementKeys::Nonce kNonce{1, 2, 3};

const Secret<32>& network() {
    static const Secret<32> made{std::array<uint8_t, 32>{7}};
    return made;
}

const AnnouncementKeys& keys() {
    static const AnnouncementKeys made(network(), kTopic);
    return made;
}

void check_opened(const Announcement& announcement) {
    FUZZ_CHECK(within_bounds(announcement) == announcement);
    FUZZ_CHECK(announcement.valid_for_s >= 1 && announcement.valid_for_s <= kValiditySecondsMax);
    const std::string key = keys().key_of(announcement.id);
    FUZZ_CHECK(keys().is_key(key));
    const std::string again = keys().seal(announcement, kNonce);
    FUZZ_CHECK(again.size() <= AnnouncementKeys::kSealedSizeMax);
    const auto opened = keys().open(again, key);
    FUZZ_CHECK(opened.has_value() && *opened == announcement);
    const auto elsewhere = keys().open(again, keys().channel());
    FUZZ_CHECK(!elsewhere && elsewhere.error() == AnnouncementError::moved);
}

// Any plaintext in a box that opens, under the name of the id in it: what a hostile member could write. Its length is
// filled in unless `as_it_is`.
std::string sealed(Bytes plaintext, bool as_it_is) {
    std::vector<uint8_t> plain(plaintext.begin(), plaintext.end());
    plain.resize(std::min(plain.size(), AnnouncementKeys::kPlainSizeMax));
    const size_t size = plain.size();
    plain.resize(std::max<size_t>(1, (size + AnnouncementKeys::kPaddedTo - 1) / AnnouncementKeys::kPaddedTo) *
                 AnnouncementKeys::kPaddedTo);
    if (!as_it_is && size >= 2) ByteWriter(plain).u16(static_cast<uint16_t>(size - 2));

    Announcement named;
    named.valid_for_s = 1;
    if (size >= 2 + named.id.size()) std::copy_n(plain.begin() + 2, named.id.size(), named.id.begin());
    std::string value = keys().seal(named, kNonce).substr(0, AnnouncementKeys::kHeaderSize);
    const Secret<32> seal_key = crypto::expand_label_secret(network().bytes(), "seal", as_bytes(kTopic));
    std::vector<uint8_t> box(plain.size() + crypto::kXChaChaTagSize);
    crypto::xchacha20_seal(seal_key.bytes(), kNonce, as_bytes(keys().key_of(named.id)), plain, box);
    return value += as_text(box);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes input(data, size);
    const uint8_t choice = fuzz::take_byte(input);
    switch (choice % 4) {
        case 0:
            FUZZ_CHECK(!keys().open(as_text(input)));  // that would be a forgery
            break;
        case 1:
        case 2:
            if (const auto opened = keys().open(sealed(input, choice % 4 == 2))) check_opened(*opened);
            break;
        default: {
            std::string value = sealed(input, false);
            const size_t bit = (size_t{choice} * 7919 + input.size()) % (value.size() * 8);
            value[bit / 8] = static_cast<char>(static_cast<uint8_t>(value[bit / 8]) ^ 1U << bit % 8);
            FUZZ_CHECK(!keys().open(value));
            break;
        }
    }
    return 0;
}
