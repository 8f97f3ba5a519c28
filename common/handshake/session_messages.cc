#include "common/handshake/session_messages.h"

#include <algorithm>

#include "common/base/assert.h"

namespace qanat::handshake {
namespace {

constexpr size_t kWindowUnit = 64;

bool all_zero(Bytes bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// True if `area` is a list of TLVs that this version may skip. None are known yet.
bool tlvs_may_be_skipped(Bytes area) {
    constexpr uint16_t kMustUnderstand = 0x8000;
    ByteReader reader(area);
    while (reader.remaining() >= 2) {
        const uint16_t type = reader.u16();
        if (type == 0) break;
        const uint16_t length = reader.u16();
        reader.bytes(length);
        if (!reader.ok() || (type & kMustUnderstand) != 0) return false;
    }
    // What is left after the end is unused, so it is zero.
    return all_zero(reader.bytes(reader.remaining()));
}

}  // namespace

SuiteList::SuiteList(std::span<const crypto::Suite> suites) {
    for (const crypto::Suite suite : suites) push_back(static_cast<uint8_t>(suite));
}

void SuiteList::push_back(uint8_t id) {
    QANAT_ASSERT(size_ < kSizeMax);
    QANAT_ASSERT(id != 0);
    ids_[size_++] = id;
}

bool SuiteList::contains(crypto::Suite suite) const {
    const auto list = ids();
    return std::find(list.begin(), list.end(), static_cast<uint8_t>(suite)) != list.end();
}

std::optional<crypto::Suite> choose_suite(const SuiteList& offered, std::span<const crypto::Suite> allowed,
                                          bool both_have_aes) {
    for (const uint8_t id : offered.ids()) {
        const std::optional<crypto::Suite> suite = crypto::suite_from_id(id);
        if (!suite || (crypto::needs_aes_hardware(*suite) && !both_have_aes)) continue;
        if (std::find(allowed.begin(), allowed.end(), *suite) != allowed.end()) return suite;
    }
    return std::nullopt;
}

void encode_msg1_payload(const Msg1Payload& payload, std::span<uint8_t, kMsg1PayloadSize> out) {
    QANAT_ASSERT(payload.suites.size() > 0);
    ByteWriter writer(out);
    writer.u32(payload.capabilities);
    writer.u8(static_cast<uint8_t>(payload.suites.size()));
    writer.bytes(payload.suites.ids());
    writer.zeros(SuiteList::kSizeMax - payload.suites.size());
    writer.bytes(payload.boot_id);
    writer.u32(payload.wished_window);
    writer.zeros(out.size() - writer.size());
    QANAT_ASSERT(writer.ok());
}

std::optional<Msg1Payload> decode_msg1_payload(std::span<const uint8_t, kMsg1PayloadSize> bytes) {
    Msg1Payload payload;
    ByteReader reader(bytes);
    payload.capabilities = reader.u32();
    const size_t suite_count = reader.u8();
    const Bytes suite_ids = reader.bytes(SuiteList::kSizeMax);
    if (suite_count < 1 || suite_count > SuiteList::kSizeMax) return std::nullopt;
    for (size_t i = 0; i < suite_ids.size(); ++i) {
        const bool used = i < suite_count;
        if (used != (suite_ids[i] != 0)) return std::nullopt;
        if (used) payload.suites.push_back(suite_ids[i]);
    }
    reader.copy_to(payload.boot_id);
    payload.wished_window = reader.u32();
    if (!tlvs_may_be_skipped(reader.bytes(reader.remaining()))) return std::nullopt;
    return payload;
}

void encode_msg2_payload(const Msg2Payload& payload, std::span<uint8_t, kMsg2PayloadSize> out) {
    ByteWriter writer(out);
    writer.u8(static_cast<uint8_t>(payload.status));
    if (payload.status == SessionStatus::ok) {
        QANAT_ASSERT(payload.session_id != 0);
        QANAT_ASSERT(payload.lifetime_s != 0);
        QANAT_ASSERT(payload.window != 0);
        QANAT_ASSERT(payload.window % kWindowUnit == 0);
        writer.u8(static_cast<uint8_t>(payload.suite));
        writer.u16(0);
        writer.u32(payload.capabilities);
        writer.u64(payload.session_id);
        writer.u32(payload.lifetime_s);
        writer.u32(payload.window);
        writer.bytes(payload.header_key.bytes());
    }
    writer.zeros(out.size() - writer.size());
    QANAT_ASSERT(writer.ok());
}

std::optional<Msg2Payload> decode_msg2_payload(std::span<const uint8_t, kMsg2PayloadSize> bytes) {
    Msg2Payload payload;
    ByteReader reader(bytes);
    payload.status = static_cast<SessionStatus>(reader.u8());
    if (payload.status != SessionStatus::ok) {
        if (!all_zero(reader.bytes(reader.remaining()))) return std::nullopt;
        return payload;
    }
    const std::optional<crypto::Suite> suite = crypto::suite_from_id(reader.u8());
    const uint16_t zero = reader.u16();
    payload.capabilities = reader.u32();
    payload.session_id = reader.u64();
    payload.lifetime_s = reader.u32();
    payload.window = reader.u32();
    reader.copy_to(payload.header_key.writable());
    if (!suite || zero != 0 || payload.session_id == 0 || payload.lifetime_s == 0) return std::nullopt;
    if (payload.window == 0 || payload.window % kWindowUnit != 0) return std::nullopt;
    if (!tlvs_may_be_skipped(reader.bytes(reader.remaining()))) return std::nullopt;
    payload.suite = *suite;
    return payload;
}

}  // namespace qanat::handshake
