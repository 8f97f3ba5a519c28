#include "controlplane/config/paths.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/controlplane/config/temp_directory.h"

namespace qanat::controlplane {
namespace {

class Paths : public ::testing::Test {
protected:
    Paths() {
        user_.uid = 1000;
        user_.working_directory = directory_ / "work";
        user_.home = directory_ / "home";
        root_.uid = 0;
        root_.working_directory = directory_ / "work";
        root_.system_config_directory = directory_ / "etc/qanat";
    }

    TempDirectory directory_;
    Environment user_;
    Environment root_;
};

TEST_F(Paths, TheConfigurationDirectoryDependsOnWhoAsks) {
    EXPECT_EQ(config_directory(Environment{}), "/etc/qanat");
    EXPECT_EQ(config_directory(user_), directory_ / "home/.config/qanat");
    user_.xdg_config_home = "/xdg";
    EXPECT_EQ(config_directory(user_), "/xdg/qanat");
    user_.xdg_config_home = "relative";
    EXPECT_EQ(config_directory(user_), directory_ / "home/.config/qanat");
    user_.home = "";
    EXPECT_EQ(config_directory(user_), std::nullopt);
    root_.xdg_config_home = "/xdg";
    EXPECT_EQ(config_directory(root_), directory_ / "etc/qanat");
}

TEST_F(Paths, TheDefaultConfigFileIsTheRolesOwnAndNeverInTheWorkingDirectory) {
    directory_.write("work/node.json", "{}");
    directory_.write("work/qanat.json", "{}");
    EXPECT_EQ(find_config_file(Role::node, user_), std::nullopt);
    const std::string node = directory_.write("home/.config/qanat/node.json", "{}");
    EXPECT_EQ(find_config_file(Role::node, user_), node);
    EXPECT_EQ(find_config_file(Role::client, user_), std::nullopt);
    const std::string client = directory_.write("etc/qanat/client.json", "{}");
    EXPECT_EQ(find_config_file(Role::client, root_), client);
    EXPECT_EQ(find_config_file(Role::node, root_), std::nullopt);
}

TEST_F(Paths, TheNetworkKeyIsSearchedInOrder) {
    const std::string here = directory_ / "work/network.key";
    const std::string there = directory_ / "home/.config/qanat/network.key";
    EXPECT_EQ(find_network_key("given", user_).value(), "given");
    EXPECT_EQ(find_network_key("", user_).error().message,
              "no network key, looked for " + here + " and " + there +
                  ": make one with 'qanat keygen', copy the one of your network there, or name it with --key");
    directory_.write("home/.config/qanat/network.key", "");
    EXPECT_EQ(find_network_key("", user_).value(), there);
    directory_.write("work/network.key", "");
    EXPECT_EQ(find_network_key("", user_).value(), here);
    user_.home = "";
    user_.working_directory = "/nowhere";
    EXPECT_EQ(
        find_network_key("", user_).error().message,
        "no network key, looked for /nowhere/network.key: make one with 'qanat keygen', copy the one of your network "
        "there, or name it with --key");
}

TEST_F(Paths, TheIdentityIsSearchedInOrderAndItsDirectoryMade) {
    const std::string there = directory_ / "home/.config/qanat/client.key";
    EXPECT_EQ(find_identity("given", Role::client, user_).value(), "given");
    EXPECT_EQ(find_identity("", Role::client, user_).value(), there);
    EXPECT_EQ(TempDirectory::mode_of(directory_ / "home/.config/qanat"), 0700U);
    EXPECT_FALSE(std::filesystem::exists(there));
    directory_.write("work/node.key", "");
    EXPECT_EQ(find_identity("", Role::client, user_).value(), there);
    EXPECT_EQ(find_identity("", Role::node, user_).value(), directory_ / "work/node.key");
    // A link that leads nowhere is not passed over: a new identity elsewhere would be a surprise.
    ASSERT_EQ(::symlink("gone", (directory_ / "work/client.key").c_str()), 0);
    EXPECT_EQ(find_identity("", Role::client, user_).value(), directory_ / "work/client.key");
    user_.home = "";
    user_.working_directory = "/nowhere";
    EXPECT_EQ(find_identity("", Role::node, user_).error().message,
              "no place for the identity, HOME is not set: set it, or name a file with --identity");
}

TEST_F(Paths, TheAdminSocketDependsOnRoleAndUser) {
    EXPECT_EQ(admin_socket_path("/x.sock", Role::node, user_).value(), "/x.sock");
    EXPECT_EQ(admin_socket_path("", Role::node, root_).value(), "/run/qanat/node.sock");
    EXPECT_EQ(admin_socket_path("", Role::client, root_).value(), "/run/qanat/client.sock");
    EXPECT_EQ(admin_socket_path("", Role::client, user_).error().message,
              "no place for the admin socket, XDG_RUNTIME_DIR is not set: set it, or name a path with --admin");
    user_.xdg_runtime_dir = "/run/user/1000";
    EXPECT_EQ(admin_socket_path("", Role::client, user_).value(), "/run/user/1000/qanat/client.sock");
}

TEST(Environment, OfProcessIsThisUser) {
    EXPECT_EQ(Environment::of_process().uid, ::geteuid());
}

}  // namespace
}  // namespace qanat::controlplane
