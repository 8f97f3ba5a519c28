#include "controlplane/cli/local_commands.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "common/handshake/node_id.h"
#include "controlplane/config/identity_file.h"
#include "controlplane/config/network_key.h"
#include "tests/unit/controlplane/config/temp_directory.h"

namespace qanat::controlplane {
namespace {

class LocalCommands : public ::testing::Test {
protected:
    LocalCommands() {
        environment_.uid = 1000;
        environment_.working_directory = directory_.path();
        environment_.home = directory_ / "home";
    }

    TempDirectory directory_;
    Environment environment_;
    std::ostringstream out_;
};

TEST_F(LocalCommands, KeygenWritesTheDefaultFileAndPrintsPathAndFingerprint) {
    ASSERT_TRUE(run_keygen({}, environment_, out_));
    const std::string path = directory_ / "network.key";
    const auto key = load_network_key(path);
    ASSERT_TRUE(key) << key.error().message;
    EXPECT_EQ(out_.str(), "wrote " + path + "\nfingerprint " + network_key_fingerprint(*key) + "\n");
    EXPECT_EQ(TempDirectory::mode_of(path), 0600U);
}

TEST_F(LocalCommands, KeygenNeverOverwrites) {
    const std::string path = directory_.write("network.key", "precious", 0644);
    const auto result = run_keygen({}, environment_, out_);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message,
              path + " exists and is never overwritten: move it away, or choose another path with --out");
    EXPECT_EQ(out_.str(), "");
    EXPECT_EQ(TempDirectory::read(path), "precious");
    EXPECT_FALSE(run_keygen({path}, environment_, out_));
}

TEST_F(LocalCommands, KeygenToStandardOutputIsTheKeyAlone) {
    ASSERT_TRUE(run_keygen({"-"}, environment_, out_));
    EXPECT_TRUE(parse_network_key(out_.str()));
    EXPECT_EQ(directory_.count_files(), 0U);
    std::ostringstream second;
    ASSERT_TRUE(run_keygen({"-"}, environment_, second));
    EXPECT_NE(out_.str(), second.str());
}

TEST_F(LocalCommands, IdPrintsTheIdAloneAndIsStable) {
    ASSERT_TRUE(run_id({}, environment_, out_));
    const std::string path = directory_ / "home/.config/qanat/node.key";
    const auto identity = load_or_create_identity(path);
    ASSERT_TRUE(identity);
    EXPECT_EQ(out_.str(), encode_node_id(identity->public_key) + "\n");
    std::ostringstream second;
    ASSERT_TRUE(run_id({}, environment_, second));
    EXPECT_EQ(second.str(), out_.str());
    std::ostringstream other;
    ASSERT_TRUE(run_id({directory_ / "other.key"}, environment_, other));
    EXPECT_NE(other.str(), out_.str());
}

TEST_F(LocalCommands, Version) {
    ASSERT_TRUE(run_version(out_));
    EXPECT_EQ(out_.str(), "qanat " QANAT_VERSION "\n");
}

TEST_F(LocalCommands, OutputThatCannotBeWrittenIsAFailure) {
    std::ofstream full("/dev/full");
    const std::string message = "standard output cannot be written: check where it leads";
    EXPECT_EQ(run_version(full).error().message, message);
    std::ofstream full_again("/dev/full");
    EXPECT_EQ(run_keygen({"-"}, environment_, full_again).error().message, message);
}

}  // namespace
}  // namespace qanat::controlplane
