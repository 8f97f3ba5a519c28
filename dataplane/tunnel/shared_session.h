// SharedSession: one session as the engines of a process share it. Streams of one session come in on any engine, so
// the stream counter and the replay window are common to all; everything else never changes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/secret.h"
#include "common/crypto/suite.h"
#include "common/ring/messages.h"
#include "common/wire/replay_window.h"

namespace qanat::dataplane {

struct SharedSession {
    // A command that can become a session: id not 0, known side and suite, a window that the node side can reserve.
    [[nodiscard]] static bool valid(const ring::InstallSession& install);

    // `install` is valid().
    explicit SharedSession(const ring::InstallSession& install);

    SharedSession(const SharedSession&) = delete;
    SharedSession& operator=(const SharedSession&) = delete;

    // The same session in every field. Anything else under its id would be one id with two keys.
    [[nodiscard]] bool matches(const ring::InstallSession& install) const;

    const uint64_t id;
    const ring::SessionSide side;
    const crypto::Suite suite;
    const uint32_t node;                   // client side: the node's number in the plan
    const Secret<32> data_secret;          // S_data
    const Secret<32> header_key;           // K_hdr of the node; client side
    const std::array<uint8_t, 32> peer;    // static key of the other side, for logs
    std::vector<uint64_t> window_storage;  // of `window`
    wire::ReplayWindow window;             // node side: which stream numbers were used; client side: the smallest
    std::atomic<uint64_t> next_stream{0};  // client side: fetch_add(1, relaxed) is a number nobody else has
    std::atomic<bool> confirmed;           // node side: exchange(true) by the first stream that proves the keys
};

}  // namespace qanat::dataplane
