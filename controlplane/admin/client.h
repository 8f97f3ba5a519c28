// AdminClient: the asking side of the admin socket. Blocking; not for the process that serves.
#pragma once

#include <json/value.h>
#include <sys/types.h>

#include <string>

#include "common/base/duration.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"

namespace qanat::controlplane {

class AdminClient {
public:
    // The server bounds its own time; this is for one that is stuck.
    static constexpr Duration kPatience = std::chrono::seconds(20);

    // Nobody there is an error with the remedy.
    [[nodiscard]] static Result<AdminClient> connect(const std::string& path);

    // Sends {"cmd": …, …}; once per connection. The lines of the answer follow.
    [[nodiscard]] Result<void> ask(const Json::Value& request);

    struct Line {
        std::string text;
        Json::Value value;  // an object
    };
    // The next line. An {"error": …}, something that is no JSON object, an end of the connection and a silence of
    // kPatience are errors.
    [[nodiscard]] Result<Line> next_line();

    // Waits until the program at the other end is gone, where the kernel tells which one it is.
    void wait_for_exit() const;

    [[nodiscard]] const std::string& path() const { return path_; }

private:
    AdminClient(UniqueFd fd, UniqueFd process, std::string path)
        : fd_(std::move(fd)), process_(std::move(process)), path_(std::move(path)) {}

    UniqueFd fd_;
    UniqueFd process_;
    std::string path_;
    std::string received_;
};

// One command, one line.
[[nodiscard]] Result<AdminClient::Line> ask_admin(const std::string& path, const Json::Value& request);
[[nodiscard]] Json::Value admin_request(const std::string& command);

}  // namespace qanat::controlplane
