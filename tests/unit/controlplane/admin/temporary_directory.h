// A directory of its own for one test, gone after it.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace qanat::controlplane {

class TemporaryDirectory {
public:
    TemporaryDirectory() {
        char name[] = "/tmp/qanat-test-XXXXXX";
        EXPECT_NE(::mkdtemp(name), nullptr);
        path_ = name;
    }
    ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    [[nodiscard]] std::string path(const std::string& name = "") const { return path_ + "/" + name; }

private:
    std::string path_;
};

}  // namespace qanat::controlplane
