#include "common/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <utility>

namespace qanat {
namespace {

constexpr std::array<std::string_view, 4> kLevelNames{"debug", "info", "warn", "error"};
constexpr std::array<std::string_view, 2> kFormatNames{"text", "json"};
constexpr std::string_view kHexDigits = "0123456789abcdef";

bool is_printable_ascii(char c) {
    return c >= 0x20 && c < 0x7f;
}

void append_utc_time(std::string& out, std::chrono::system_clock::time_point time) {
    const auto milliseconds = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count();
    const auto seconds = static_cast<time_t>(std::chrono::floor<std::chrono::seconds>(time.time_since_epoch()).count());
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    std::array<char, 32> text{};
    const size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    out.append(text.data(), length);
    std::array<char, 8> fraction{};
    std::snprintf(fraction.data(), fraction.size(), ".%03dZ", static_cast<int>(milliseconds - seconds * int64_t{1000}));
    out += fraction.data();
}

void append_escaped(std::string& out, std::string_view text) {
    for (const char c : text) {
        const auto byte = static_cast<uint8_t>(c);
        if (c == '\n') {
            out += "\\n";
        } else if (c == '\r') {
            out += "\\r";
        } else if (c == '\t') {
            out += "\\t";
        } else if (c == '\\') {
            out += "\\\\";
        } else if (is_printable_ascii(c)) {
            out += c;
        } else {
            out += "\\x";
            out += kHexDigits[byte >> 4];
            out += kHexDigits[byte & 15];
        }
    }
}

template <class Number>
void append_number(std::string& out, Number number) {
    std::array<char, 40> text{};
    const auto [end, status] = std::to_chars(text.data(), text.data() + text.size(), number);
    if (status == std::errc{}) out.append(text.data(), end);
}

// Quotes only where a reader would otherwise see two fields or none.
void append_text_value(std::string& out, std::string_view text) {
    bool quoted = text.empty();
    for (const char c : text)
        quoted = quoted || !is_printable_ascii(c) || c == ' ' || c == '"' || c == '=' || c == '\\';
    if (!quoted) {
        out += text;
        return;
    }
    out += '"';
    for (size_t start = 0; start <= text.size();) {
        const size_t quote = std::min(text.find('"', start), text.size());
        append_escaped(out, text.substr(start, quote - start));
        if (quote < text.size()) out += "\\\"";
        start = quote + 1;
    }
    out += '"';
}

void append_json_unit(std::string& out, uint32_t unit) {
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out += kHexDigits[unit >> shift & 15];
}

// Takes one UTF-8 sequence off the front of `text` (Unicode 15, table 3-7); U+FFFD and one byte if it is none.
uint32_t take_code_point(std::string_view& text) {
    constexpr uint32_t kReplacement = 0xfffd;
    const auto at = [&text](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[i])); };
    const uint32_t first = at(0);
    const size_t length = first < 0x80   ? 1
                          : first < 0xc2 ? 0
                          : first < 0xe0 ? 2
                          : first < 0xf0 ? 3
                          : first < 0xf5 ? 4
                                         : 0;
    if (length == 1) {
        text.remove_prefix(1);
        return first;
    }
    uint32_t point = length == 2 ? first & 0x1f : length == 3 ? first & 0x0f : first & 0x07;
    bool valid = length != 0 && text.size() >= length;
    for (size_t i = 1; valid && i < length; ++i) {
        valid = (at(i) & 0xc0) == 0x80;
        point = point << 6 | (at(i) & 0x3f);
    }
    // Overlong forms, surrogates, and what lies beyond Unicode.
    if (length == 3) valid = valid && point >= 0x800 && (point < 0xd800 || point > 0xdfff);
    if (length == 4) valid = valid && point >= 0x10000 && point <= 0x10ffff;
    text.remove_prefix(valid ? length : 1);
    return valid ? point : kReplacement;
}

// ASCII only: everything else as \uXXXX, so that no control or direction mark of Unicode reaches a terminal either.
void append_json_string(std::string& out, std::string_view text) {
    out += '"';
    while (!text.empty()) {
        const uint32_t point = take_code_point(text);
        if (point == '"' || point == '\\') {
            out += '\\';
            out += static_cast<char>(point);
        } else if (point >= 0x20 && point < 0x7f) {
            out += static_cast<char>(point);
        } else if (point < 0x10000) {
            append_json_unit(out, point);
        } else {
            append_json_unit(out, 0xd800 + ((point - 0x10000) >> 10));
            append_json_unit(out, 0xdc00 + ((point - 0x10000) & 0x3ff));
        }
    }
    out += '"';
}

void append_value(std::string& out, LogFormat format, const LogField::Value& value) {
    if (const auto* text = std::get_if<std::string_view>(&value)) {
        if (format == LogFormat::json)
            append_json_string(out, *text);
        else
            append_text_value(out, *text);
    } else if (const auto* truth = std::get_if<bool>(&value)) {
        out += *truth ? "true" : "false";
    } else if (const auto* whole = std::get_if<int64_t>(&value)) {
        append_number(out, *whole);
    } else if (const auto* natural = std::get_if<uint64_t>(&value)) {
        append_number(out, *natural);
    } else if (const auto* real = std::get_if<double>(&value)) {
        // JSON has no infinity and no NaN.
        if (std::isfinite(*real))
            append_number(out, *real);
        else
            out += "null";
    }
}

std::string format_text(const LogRecord& record) {
    std::string line;
    if (record.time) {
        append_utc_time(line, *record.time);
        line += ' ';
    }
    line += name_of(record.level);
    line += ' ';
    append_escaped(line, record.component);
    line += ": ";
    append_escaped(line, record.message);
    for (const LogField& field : record.fields) {
        line += ' ';
        append_escaped(line, field.key());
        line += '=';
        append_value(line, LogFormat::text, field.value());
    }
    return line;
}

std::string format_json(const LogRecord& record) {
    std::string line = "{\"time\":";
    if (record.time) {
        line += '"';
        append_utc_time(line, *record.time);
        line += '"';
    } else {
        line += "null";
    }
    line += ",\"level\":\"";
    line += name_of(record.level);
    line += "\",\"component\":";
    append_json_string(line, record.component);
    line += ",\"message\":";
    append_json_string(line, record.message);
    for (const LogField& field : record.fields) {
        line += ',';
        append_json_string(line, field.key());
        line += ':';
        append_value(line, LogFormat::json, field.value());
    }
    line += '}';
    return line;
}

// systemd sets JOURNAL_STREAM=DEVICE:INODE for the stream it made; it is only meant if stderr still is that stream
// (systemd.exec(5)).
bool stderr_is_journal() {
    const char* announced = std::getenv("JOURNAL_STREAM");
    struct stat status {};
    if (announced == nullptr || ::fstat(STDERR_FILENO, &status) != 0) return false;
    return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) == announced;
}

struct Logger {
    std::string component = LogOptions{}.component;
    LogFormat format = LogOptions{}.format;
    std::atomic<LogLevel> level{LogOptions{}.level};
    bool with_time = !stderr_is_journal();
    spdlog::logger output{"qanat", std::make_shared<spdlog::sinks::stderr_sink_mt>()};

    Logger() {
        output.set_pattern("%v", spdlog::pattern_time_type::utc);
        output.set_level(spdlog::level::trace);
        output.flush_on(spdlog::level::trace);
    }
};

// Never destroyed: threads and destructors may log until the very end.
Logger& logger() {
    static auto& instance = *new Logger;
    return instance;
}

}  // namespace

std::string_view name_of(LogLevel level) {
    return kLevelNames[static_cast<size_t>(level)];
}
std::string_view name_of(LogFormat format) {
    return kFormatNames[static_cast<size_t>(format)];
}

std::optional<LogLevel> parse_log_level(std::string_view name) {
    for (size_t i = 0; i < kLevelNames.size(); ++i)
        if (kLevelNames[i] == name) return static_cast<LogLevel>(i);
    return std::nullopt;
}

std::optional<LogFormat> parse_log_format(std::string_view name) {
    for (size_t i = 0; i < kFormatNames.size(); ++i)
        if (kFormatNames[i] == name) return static_cast<LogFormat>(i);
    return std::nullopt;
}

void start_log(const LogOptions& options) {
    logger().component = options.component;
    logger().format = options.format;
    set_log_level(options.level);
}

void set_log_level(LogLevel level) {
    logger().level.store(level, std::memory_order_relaxed);
}

bool log_enabled(LogLevel level) {
    return level >= logger().level.load(std::memory_order_relaxed);
}

void log_line(LogLevel level, std::string_view message, std::span<const LogField> fields) {
    if (!log_enabled(level)) return;
    Logger& log = logger();
    LogRecord record{std::nullopt, level, log.component, message, fields};
    if (log.with_time || log.format == LogFormat::json) record.time = std::chrono::system_clock::now();
    // A string_view that is not a format string: braces in a message mean nothing to spdlog.
    log.output.log(spdlog::level::info, spdlog::string_view_t(format_log_line(log.format, record)));
}

std::string format_log_line(LogFormat format, const LogRecord& record) {
    return format == LogFormat::json ? format_json(record) : format_text(record);
}

std::string printable(std::string_view text) {
    std::string out;
    append_escaped(out, text);
    return out;
}

std::optional<uint64_t> LogRateLimit::admit(Instant now) {
    if (!window_start_ || now - *window_start_ >= interval_) {
        window_start_ = now;
        used_ = 0;
    }
    if (used_ >= burst_) {
        ++suppressed_;
        return std::nullopt;
    }
    ++used_;
    return std::exchange(suppressed_, 0);
}

}  // namespace qanat
