#include "controlplane/config/identity_file.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include <set>

#include "common/handshake/node_id.h"
#include "tests/unit/controlplane/config/temp_directory.h"

namespace qanat::controlplane {
namespace {

const std::string kDigits = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const std::string kText = "qanat-identity-1\n" + kDigits + "\n";

TEST(IdentityFile, ParsesAndFormats) {
    for (const std::string& text :
         {kText, kText.substr(0, kText.size() - 1), "qanat-identity-1\r\n" + kDigits + "\r\n"}) {
        const auto identity = parse_identity(text);
        ASSERT_TRUE(identity) << identity.error().message;
        const auto again = format_identity(*identity);
        EXPECT_EQ(std::string(reinterpret_cast<const char*>(again.bytes().data()), again.kSize), kText);
        // RFC 7748's ladder on these bytes, by libsodium's own tool: the public half belongs to the secret one.
        std::array<uint8_t, 32> expected{};
        ASSERT_EQ(::crypto_scalarmult_base(expected.data(), identity->secret.bytes().data()), 0);
        EXPECT_EQ(identity->public_key, expected);
    }
}

TEST(IdentityFile, RefusesAnythingElseNamingTheLine) {
    const std::string remedy = ": restore the file from a backup, or move it away to get a new identity";
    struct Case {
        std::string text;
        std::string message;
    };
    const Case cases[] = {
        {"", "line 1: missing, an identity has two lines"},
        {"qanat-identity-1", "line 2: missing, an identity has two lines"},
        {"qanat-identity-2\n" + kDigits, "line 1: not \"qanat-identity-1\", so this is no identity"},
        {"/key/swarm/psk/1.0.0/\n/base16/\n" + kDigits, "line 1: not \"qanat-identity-1\", so this is no identity"},
        {"qanat-identity-1\n" + kDigits.substr(2), "line 2: 62 characters where 64 hex digits belong"},
        {"qanat-identity-1\n-" + kDigits.substr(1), "line 2: character 1 is not a hex digit"},
        {kText + "\n", "line 3: an identity has two lines and ends there"},
    };
    for (const Case& c : cases) {
        const auto identity = parse_identity(c.text);
        ASSERT_FALSE(identity) << c.text;
        EXPECT_EQ(identity.error().message, c.message + remedy);
    }
    for (size_t size = 0; size + 1 < kText.size(); ++size) EXPECT_FALSE(parse_identity(kText.substr(0, size))) << size;
}

TEST(IdentityFile, IsCreatedOnFirstUseAndKept) {
    const TempDirectory directory;
    const std::string path = directory / "node.key";
    const auto first = load_or_create_identity(path);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(TempDirectory::mode_of(path), 0600U);
    EXPECT_EQ(TempDirectory::read(path).size(), kIdentityTextSize);
    const auto second = load_or_create_identity(path);
    ASSERT_TRUE(second);
    EXPECT_EQ(first->public_key, second->public_key);
    EXPECT_TRUE(first->secret == second->secret);
    const auto other = load_or_create_identity(directory / "client.key");
    ASSERT_TRUE(other);
    EXPECT_NE(first->public_key, other->public_key);
}

TEST(IdentityFile, ADamagedFileIsNeverReplaced) {
    const TempDirectory directory;
    const std::string path = directory.write("node.key", "");
    EXPECT_EQ(
        load_or_create_identity(path).error().message,
        path +
            ": line 1: missing, an identity has two lines: restore the file from a backup, or move it away to get "
            "a new identity");
    EXPECT_EQ(TempDirectory::read(path), "");
    directory.write("node.key", kText, 0640);
    EXPECT_EQ(load_or_create_identity(path).error().message,
              path + " is readable by others (mode 0640): run 'chmod 600 " + path + "'");
    ASSERT_EQ(::symlink("nowhere", (directory / "link.key").c_str()), 0);
    EXPECT_EQ(
        load_or_create_identity(directory / "link.key").error().message,
        directory / "link.key" + " is a link that leads nowhere: remove it, or give another path with --identity");
}

TEST(IdentityFile, ProcessesThatStartAtOnceAgree) {
    for (int round = 0; round < 20; ++round) {
        const TempDirectory directory;
        const std::string path = directory / "node.key";
        int gate[2];
        int results[2];
        ASSERT_EQ(::pipe(gate), 0);
        ASSERT_EQ(::pipe(results), 0);
        std::vector<pid_t> children;
        for (int i = 0; i < 4; ++i) {
            const pid_t child = ::fork();
            if (child == 0) {
                char byte = 0;
                ::close(gate[1]);
                [[maybe_unused]] const ssize_t ended =
                    ::read(gate[0], &byte, 1);  // all start when the parent closes its end
                const auto identity = load_or_create_identity(path);
                const std::string id =
                    identity ? encode_node_id(identity->public_key) : std::string(kNodeIdLength, '!');
                ::_exit(::write(results[1], id.data(), id.size()) == static_cast<ssize_t>(id.size()) ? 0 : 1);
            }
            children.push_back(child);
        }
        ::close(gate[0]);
        ::close(gate[1]);
        ::close(results[1]);
        for (const pid_t child : children) {
            int status = 0;
            ASSERT_EQ(::waitpid(child, &status, 0), child);
            EXPECT_EQ(status, 0);
        }
        std::set<std::string> ids;
        std::string id(kNodeIdLength, 0);
        for (int i = 0; i < 4; ++i) {
            ASSERT_EQ(::read(results[0], id.data(), id.size()), static_cast<ssize_t>(id.size()));
            ids.insert(id);
        }
        ::close(results[0]);
        EXPECT_EQ(ids.size(), 1U);
        EXPECT_EQ(*ids.begin(), encode_node_id(load_or_create_identity(path)->public_key));
        EXPECT_EQ(directory.count_files(), 1U);
    }
}

}  // namespace
}  // namespace qanat::controlplane
