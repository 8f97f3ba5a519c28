#include "controlplane/admin/socket_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "tests/unit/controlplane/admin/temporary_directory.h"

namespace qanat::controlplane {
namespace {

class SocketFileTest : public testing::Test {
protected:
    SocketFileTest() {
        environment_.uid = 1000;
        environment_.xdg_runtime_dir = directory_.path("run");
        environment_.home = directory_.path("home");
        std::filesystem::create_directory(environment_.xdg_runtime_dir);
    }
    TemporaryDirectory directory_;
    Environment environment_;
};

TEST_F(SocketFileTest, DirectoryByEnvironment) {
    EXPECT_EQ(*admin_directory(environment_), directory_.path("run/qanat"));
    environment_.xdg_runtime_dir = "";
    EXPECT_EQ(*admin_directory(environment_), directory_.path("home/.cache/qanat"));
    environment_.home = "";
    EXPECT_FALSE(admin_directory(environment_).has_value());
    environment_.uid = 0;
    environment_.system_runtime_directory = directory_.path("system");
    EXPECT_EQ(*admin_directory(environment_), directory_.path("system"));
}

TEST_F(SocketFileTest, IsPrivateAndRemovedAtTheEnd) {
    const mode_t mask = ::umask(0);
    {
        const auto file = SocketFile::open("", Role::node, environment_);
        ASSERT_TRUE(file.has_value()) << file.error().message;
        EXPECT_EQ(file->path(), directory_.path("run/qanat/node.sock"));
        EXPECT_EQ(file->warning(), "");
        struct stat status {};
        ASSERT_EQ(::stat(file->path().c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 07777, 0600u);
        ASSERT_EQ(::stat(directory_.path("run/qanat").c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 07777, 0700u);
        EXPECT_THAT(admin_sockets(environment_), testing::ElementsAre(file->path()));
    }
    ::umask(mask);
    EXPECT_TRUE(admin_sockets(environment_).empty());
}

TEST_F(SocketFileTest, AStaleFileIsReplaced) {
    const std::string path = directory_.path("a.sock");
    int old_fd = -1;
    {
        auto file = SocketFile::open(path, Role::node, environment_);
        ASSERT_TRUE(file.has_value());
        // What a crash leaves: the file without its listener.
        std::filesystem::create_hard_link(path, directory_.path("kept"));
        old_fd = file->fd();
    }
    std::filesystem::rename(directory_.path("kept"), path);
    ASSERT_GE(old_fd, 0);
    const auto again = SocketFile::open(path, Role::node, environment_);
    ASSERT_TRUE(again.has_value()) << again.error().message;
    EXPECT_EQ(again->warning(), "");
}

TEST_F(SocketFileTest, ALiveOneIsNotTouched) {
    const std::string path = directory_.path("a.sock");
    const auto first = SocketFile::open(path, Role::node, environment_);
    ASSERT_TRUE(first.has_value());
    const auto second = SocketFile::open(path, Role::node, environment_);
    ASSERT_FALSE(second.has_value());
    EXPECT_THAT(second.error().message, testing::AllOf(testing::HasSubstr(path), testing::HasSubstr("--admin")));
    EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(SocketFileTest, TheDefaultPlaceMakesRoomForASecondInstance) {
    const auto first = SocketFile::open("", Role::client, environment_);
    ASSERT_TRUE(first.has_value());
    const auto second = SocketFile::open("", Role::client, environment_);
    ASSERT_TRUE(second.has_value());
    EXPECT_EQ(second->path(), directory_.path("run/qanat/client-" + std::to_string(::getpid()) + ".sock"));
    EXPECT_THAT(second->warning(), testing::HasSubstr(second->path()));
    EXPECT_EQ(admin_sockets(environment_).size(), 2u);
}

TEST_F(SocketFileTest, OtherFilesAndLongPathsAreErrors) {
    const std::string path = directory_.path("file");
    std::ofstream(path) << "precious";
    const auto file = SocketFile::open(path, Role::node, environment_);
    ASSERT_FALSE(file.has_value());
    EXPECT_THAT(file.error().message, testing::HasSubstr("is no socket"));
    EXPECT_TRUE(std::filesystem::exists(path));

    EXPECT_FALSE(SocketFile::open(directory_.path(std::string(200, 'x')), Role::node, environment_).has_value());
    EXPECT_FALSE(SocketFile::open(directory_.path("no/such/directory.sock"), Role::node, environment_).has_value());
}

TEST_F(SocketFileTest, AFileThatAnotherProcessPutThereStays) {
    const std::string path = directory_.path("a.sock");
    {
        const auto file = SocketFile::open(path, Role::node, environment_);
        ASSERT_TRUE(file.has_value());
        ::unlink(path.c_str());
        std::ofstream(path) << "another";
    }
    EXPECT_TRUE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace qanat::controlplane
