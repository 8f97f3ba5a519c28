// Log lines: one event per line, with typed fields, on stderr.
//
//     log_info("tunnel listening", {{"address", "0.0.0.0:4000"}, {"engines", 4}});
//
//     2025-11-20T10:00:00.123Z info data: tunnel listening address=0.0.0.0:4000 engines=4
//     {"time":"2025-11-20T10:00:00.123Z","level":"info","component":"data","message":"tunnel listening",
//      "address":"0.0.0.0:4000","engines":4}                                        (one line)
//
// Whatever a message or a field contains, a line stays one line of printable ASCII: a peer that chooses a host name
// cannot start a new line, forge a field, or send an escape sequence to a terminal. Secrets are never logged; the type
// Secret<N> does not convert to a field.
//
// The logger is the one global of the project: it is set up once in main() and every thread may use it. A call may
// block when stderr is a full pipe.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace qanat {

enum class LogLevel : uint8_t { debug, info, warn, error };
enum class LogFormat : uint8_t { text, json };

[[nodiscard]] std::string_view name_of(LogLevel level);
[[nodiscard]] std::string_view name_of(LogFormat format);
[[nodiscard]] std::optional<LogLevel> parse_log_level(std::string_view name);
[[nodiscard]] std::optional<LogFormat> parse_log_format(std::string_view name);

// One key and its value. Views only: a field lives as long as the expression that logs it. Keys are snake_case
// literals.
class LogField {
public:
    using Value = std::variant<std::string_view, int64_t, uint64_t, double, bool>;

    template <class T>
    requires std::is_arithmetic_v<T> LogField(std::string_view key, T value) : key_(key) {
        if constexpr (std::is_same_v<T, bool>)
            value_ = value;
        else if constexpr (std::is_floating_point_v<T>)
            value_ = static_cast<double>(value);
        else if constexpr (std::is_signed_v<T>)
            value_ = static_cast<int64_t>(value);
        else
            value_ = static_cast<uint64_t>(value);
    }
    LogField(std::string_view key, std::string_view value) : key_(key), value_(value) {}
    LogField(std::string_view key, const std::string& value) : key_(key), value_(std::string_view(value)) {}
    LogField(std::string_view key, const char* value) : key_(key), value_(std::string_view(value)) {}

    [[nodiscard]] std::string_view key() const { return key_; }
    [[nodiscard]] const Value& value() const { return value_; }

private:
    std::string_view key_;
    Value value_;
};

using LogFields = std::initializer_list<LogField>;

struct LogOptions {
    std::string component = "qanat";  // who writes: "control", "data"
    LogLevel level = LogLevel::info;  // the lowest level that is written
    LogFormat format = LogFormat::text;
};

// Sets the logger up; before the first call the defaults above hold. May be called again (a reloaded configuration),
// but not while other threads log. Text lines carry no time when stderr is the systemd journal, which adds its own.
void start_log(const LogOptions& options);

// Changes the level alone; any thread, any time.
void set_log_level(LogLevel level);
[[nodiscard]] bool log_enabled(LogLevel level);

void log_line(LogLevel level, std::string_view message, std::span<const LogField> fields);

inline void log_debug(std::string_view message, LogFields fields = {}) {
    if (log_enabled(LogLevel::debug)) log_line(LogLevel::debug, message, {fields.begin(), fields.size()});
}
inline void log_info(std::string_view message, LogFields fields = {}) {
    log_line(LogLevel::info, message, {fields.begin(), fields.size()});
}
inline void log_warn(std::string_view message, LogFields fields = {}) {
    log_line(LogLevel::warn, message, {fields.begin(), fields.size()});
}
inline void log_error(std::string_view message, LogFields fields = {}) {
    log_line(LogLevel::error, message, {fields.begin(), fields.size()});
}

// The line itself, without its newline: pure. Without `time` the text form leaves it out; JSON always needs one and
// writes null.
struct LogRecord {
    std::optional<std::chrono::system_clock::time_point> time;
    LogLevel level = LogLevel::info;
    std::string_view component;
    std::string_view message;
    std::span<const LogField> fields;
};
[[nodiscard]] std::string format_log_line(LogFormat format, const LogRecord& record);

// `text` with every byte outside printable ASCII, and the backslash, as \xNN, \n, \r, \t or \\. For error texts, which
// end up on the same terminals.
[[nodiscard]] std::string printable(std::string_view text);

// Keeps a warning that a peer can provoke from filling the disk: lets `burst` lines through per `interval`, counts the
// rest and reports that count with the next line that passes. One per call site and thread; not thread-safe.
//
//     if (const auto suppressed = refused_.admit(now)) log_warn("refused", {{"suppressed", *suppressed}});
class LogRateLimit {
public:
    using Instant = std::chrono::steady_clock::time_point;

    LogRateLimit(std::chrono::nanoseconds interval, uint32_t burst) : interval_(interval), burst_(burst) {}

    // nullopt: do not log. Otherwise the number of lines that were held back since the last one.
    [[nodiscard]] std::optional<uint64_t> admit(Instant now);

private:
    std::chrono::nanoseconds interval_;
    uint32_t burst_;
    std::optional<Instant> window_start_;
    uint32_t used_ = 0;
    uint64_t suppressed_ = 0;
};

}  // namespace qanat
