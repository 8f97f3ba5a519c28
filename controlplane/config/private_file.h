// Files that hold a secret: small, regular, for their owner only. They are read with suspicion and written once, whole
// or not at all.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/secret.h"

namespace qanat::controlplane {

inline constexpr size_t kPrivateFileSizeMax = 512;

// The contents of such a file; wiped when it ends.
class PrivateFile {
public:
    PrivateFile() = default;

    [[nodiscard]] std::string_view text() const {
        return {reinterpret_cast<const char*>(contents_.bytes().data()), size_};
    }

private:
    friend Result<std::optional<PrivateFile>> read_private_file(const std::string& path);

    Secret<kPrivateFileSizeMax + 1> contents_;
    size_t size_ = 0;
};

// Reads a whole file; nullopt if there is none. Symbolic links are followed. Refused, with the remedy: what is not a
// regular file, what group or others may read or write, and what is larger than kPrivateFileSizeMax.
[[nodiscard]] Result<std::optional<PrivateFile>> read_private_file(const std::string& path);

enum class CreateOutcome { created, existed };

// Creates `path` with mode 0600 and these contents, on disk when it returns. Never replaces anything: `existed` if the
// name is taken by whatever kind of file. Nobody ever sees a part of the contents under this name, and of several
// processes that try at once exactly one creates it.
[[nodiscard]] Result<CreateOutcome> create_private_file(const std::string& path, std::string_view contents);

// mkdir -p with mode 0700 for what has to be made.
[[nodiscard]] Result<void> make_private_directory(const std::string& path);

// Calls handle(number, line) for each line, from 1 on, until it fails. Lines end with LF or CRLF, the last one also
// without. The one loop for both formats of key files.
template <class Handle>
[[nodiscard]] Result<void> for_each_line(std::string_view text, Handle&& handle) {
    for (size_t number = 1; !text.empty(); ++number) {
        const size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (auto handled = handle(number, line); !handled) return handled;
    }
    return {};
}

// 64 hex digits → 32 bytes, in either case. The error says what is wrong with the digits, without showing any.
[[nodiscard]] Result<Secret<32>> decode_hex_secret(std::string_view digits);

// 32 bytes → 64 lower-case digits at out.
void encode_hex_secret(const Secret<32>& secret, std::span<uint8_t, 64> out);

}  // namespace qanat::controlplane
