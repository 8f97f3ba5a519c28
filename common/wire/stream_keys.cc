#include "common/wire/stream_keys.h"

#include "common/crypto/hkdf.h"
#include "common/crypto/sha256.h"

namespace qanat::wire {

DirectionKey derive_direction_key(std::span<const uint8_t, 32> traffic_secret, crypto::Suite suite) {
    DirectionKey key;
    key.suite = suite;
    crypto::expand_label(traffic_secret, "key", {}, MutableBytes(key.key).first(crypto::key_size(suite)));
    crypto::expand_label(traffic_secret, "iv", {}, key.iv);
    return key;
}

StreamKeySchedule::StreamKeySchedule(crypto::Suite suite, std::span<const uint8_t, 32> s_data, uint64_t session_id,
                                     uint64_t stream_no, std::span<const uint8_t, 32> client_random)
    : suite_(suite), e_(crypto::extract(client_random, s_data)) {
    std::array<uint8_t, 17> numbers;
    ByteWriter writer(numbers);
    writer.u8(static_cast<uint8_t>(suite));
    writer.u64(session_id);
    writer.u64(stream_no);
    crypto::Sha256()
        .update(as_bytes("qanat1 stream"))
        .update(writer.written())
        .update(client_random)
        .finish(t0_.writable());
}

DirectionKey StreamKeySchedule::client_to_node() const {
    const Secret<32> cs = crypto::expand_label_secret(e_.bytes(), "c2n", t0_.bytes());
    return derive_direction_key(cs.bytes(), suite_);
}

DirectionKey StreamKeySchedule::node_to_client(std::span<const uint8_t, 32> server_random) const {
    const crypto::Sha256Digest t1 = crypto::sha256({t0_.bytes(), server_random});
    const Secret<32> mixed = crypto::extract(server_random, e_.bytes());
    const Secret<32> ns = crypto::expand_label_secret(mixed.bytes(), "n2c", t1);
    return derive_direction_key(ns.bytes(), suite_);
}

}  // namespace qanat::wire
