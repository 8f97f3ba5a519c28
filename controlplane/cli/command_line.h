// The command line → a Command, or why not. Pure: prints nothing, opens nothing, ends nothing.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "controlplane/cli/commands.h"

namespace qanat::controlplane {

// The exit statuses of `qanat`.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

// The program ends without running a command: help was asked for (kExitOk, text for standard output) or the command
// line is wrong (kExitUsage, one line for standard error). `text` is complete, with its newline.
struct CliExit {
    int status = kExitOk;
    std::string text;
};

// `arguments` are those behind the name of the program.
[[nodiscard]] std::variant<Command, CliExit> parse_command_line(const std::vector<std::string>& arguments);

// "qanat: MESSAGE\n", in one line of printable characters: every error of the program looks like this.
[[nodiscard]] std::string error_line(std::string_view message);

}  // namespace qanat::controlplane
