// The request line of HTTP: what is taken for one consists of what the line begins with.
#include <string>

#include "controlplane/loop/http_server.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace qanat;
    const std::string_view text = as_text(Bytes(data, size));
    const auto line = controlplane::HttpRequestLine::parse(text);
    if (!line) return 0;
    FUZZ_CHECK(!line->method.empty() && line->method.find(' ') == std::string_view::npos);
    FUZZ_CHECK(line->path.starts_with('/') && line->path.find_first_of(" ?") == std::string_view::npos);
    const std::string front = std::string(line->method) + ' ' + std::string(line->path);
    FUZZ_CHECK(text.starts_with(front));
    const std::string again = front + " HTTP/1.1";
    const auto same = controlplane::HttpRequestLine::parse(again);
    FUZZ_CHECK(same.has_value() && same->method == line->method && same->path == line->path);
    return 0;
}
