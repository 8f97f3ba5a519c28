#include "controlplane/app/json_line.h"

#include <json/writer.h>

namespace qanat::controlplane {

std::string to_line(const Json::Value& value) {
    Json::StreamWriterBuilder builder;
    builder["indentation"] = "";
    builder["precisionType"] = "decimal";
    builder["precision"] = 3;
    return Json::writeString(builder, value);
}

std::string error_line_of(const std::string& message) {
    Json::Value answer;
    answer["error"] = message;
    return to_line(answer);
}

}  // namespace qanat::controlplane
