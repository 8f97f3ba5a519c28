// Configuration files: any text gives a Config, or an error of one line that names the file.
#include "controlplane/config/parse.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace qanat;
    const auto config = controlplane::parse_config(as_text(Bytes(data, size)), "fuzz.json");
    if (config) return 0;
    const std::string& message = config.error().message;
    FUZZ_CHECK(message.find("fuzz.json") != std::string::npos);
    FUZZ_CHECK(message.find('\n') == std::string::npos);
    return 0;
}
