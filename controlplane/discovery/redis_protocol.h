// The protocol of Redis (RESP2) as bytes and values, with hiredis' formatter and parser, and bounds around them: what
// comes from the server is as untrusted as what comes from any peer. Pure.
//
// hiredis' own connections are not used: the asynchronous ones of version 0.14, which Debian 12 has, abort the process
// when a server says something unexpected, resolve names with a blocking call, and know no TLS
// (docs/decisions/0007-discovery.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/result.h"

namespace qanat::controlplane {

struct RedisReply {
    enum class Kind : uint8_t { nil, status, error, integer, text, array };

    Kind kind = Kind::nil;
    int64_t number = 0;  // of an integer
    std::string text{};  // of a text, a status or an error: any bytes
    std::vector<RedisReply> elements{};

    [[nodiscard]] bool is_error() const { return kind == Kind::error; }
    [[nodiscard]] bool is_text(std::string_view expected) const { return kind == Kind::text && text == expected; }
    [[nodiscard]] bool is_status(std::string_view expected) const { return kind == Kind::status && text == expected; }
};

// "*2\r\n$3\r\nGET\r\n…"
[[nodiscard]] std::string format_redis_command(std::span<const std::string> arguments);

class RedisParser {
public:
    static constexpr size_t kElementsMax = 16384;      // in one reply, at all depths together
    static constexpr size_t kReplySizeMax = 4U << 20;  // of its texts together; also of bytes that wait to be parsed

    RedisParser();
    ~RedisParser();
    RedisParser(const RedisParser&) = delete;
    RedisParser& operator=(const RedisParser&) = delete;

    // An error is final, here and below: the bytes are no replies, or beyond the bounds.
    [[nodiscard]] Result<void> feed(Bytes bytes);

    // The next complete reply; nullopt: feed more.
    [[nodiscard]] Result<std::optional<RedisReply>> next();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace qanat::controlplane
