#include "controlplane/config/private_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include <cstdio>

#include "tests/unit/controlplane/config/temp_directory.h"

namespace qanat::controlplane {
namespace {

TEST(PrivateFile, ReadsAWholeFileAndTellsAMissingOne) {
    const TempDirectory directory;
    const std::string file = directory.write("a.key", "line\n");
    const auto read = read_private_file(file);
    ASSERT_TRUE(read && *read);
    EXPECT_EQ((*read)->text(), "line\n");
    const auto missing = read_private_file(directory / "b.key");
    ASSERT_TRUE(missing);
    EXPECT_FALSE(*missing);
    EXPECT_EQ((*read_private_file(directory.write("empty", "")))->text(), "");
}

TEST(PrivateFile, FollowsSymbolicLinks) {
    const TempDirectory directory;
    directory.write("a.key", "x");
    ASSERT_EQ(::symlink("a.key", (directory / "link").c_str()), 0);
    EXPECT_EQ((*read_private_file(directory / "link"))->text(), "x");
}

TEST(PrivateFile, RefusesEveryModeThatLetsOthersIn) {
    const TempDirectory directory;
    for (mode_t mode = 0; mode < 01000; ++mode) {
        if ((mode & 0400U) == 0) continue;
        const std::string file = directory.write("k", "x");
        ASSERT_EQ(::chmod(file.c_str(), mode), 0);
        EXPECT_EQ(read_private_file(file).has_value(), (mode & 077U) == 0) << std::oct << mode;
        ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
    }
    struct Case {
        mode_t mode;
        const char* what;
    };
    const Case cases[] = {{0644, " is readable by others (mode 0644)"}, {0640, " is readable by others (mode 0640)"},
                          {0620, " is writable by others (mode 0620)"}, {0602, " is writable by others (mode 0602)"},
                          {0610, " is open to others (mode 0610)"},     {0666, " is readable by others (mode 0666)"}};
    for (const Case& c : cases) {
        const std::string file = directory.write("k", "x", c.mode);
        EXPECT_EQ(read_private_file(file).error().message, file + c.what + ": run 'chmod 600 " + file + "'");
    }
}

TEST(PrivateFile, RefusesWhatIsNoRegularFile) {
    const TempDirectory directory;
    EXPECT_EQ(read_private_file(directory.path()).error().message,
              directory.path() + " is not a regular file: name the key file itself");
    ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
    EXPECT_EQ(read_private_file(directory / "fifo").error().message,
              directory / "fifo" + " is not a regular file: name the key file itself");
    EXPECT_EQ(read_private_file("/dev/null").error().message,
              "/dev/null is not a regular file: name the key file itself");
}

TEST(PrivateFile, TheSizeLimitIsExact) {
    const TempDirectory directory;
    for (const size_t size : {kPrivateFileSizeMax - 1, kPrivateFileSizeMax}) {
        const std::string contents(size, 'x');
        EXPECT_EQ((*read_private_file(directory.write("k", contents)))->text(), contents);
    }
    const std::string file = directory.write("k", std::string(kPrivateFileSizeMax + 1, 'x'));
    EXPECT_EQ(read_private_file(file).error().message,
              file + " is larger than 512 bytes: this is not a key file; check the path");
}

TEST(PrivateFile, ErrorsNameTheCause) {
    const TempDirectory directory;
    directory.write("file", "x");
    EXPECT_EQ(read_private_file(directory / "file/key").error().message,
              directory / "file/key" +
                  ": cannot be opened (Not a directory): check the path, and that this user may read it");
    EXPECT_EQ(read_private_file(directory.path() + "/" + std::string(300, 'n')).error().message.find('\n'),
              std::string::npos);
}

TEST(CreatePrivateFile, WritesMode0600WhateverTheUmask) {
    const TempDirectory directory;
    const mode_t old = ::umask(0777);
    const auto outcome = create_private_file(directory / "k", "contents\n");
    ::umask(old);
    ASSERT_TRUE(outcome) << outcome.error().message;
    EXPECT_EQ(*outcome, CreateOutcome::created);
    EXPECT_EQ(TempDirectory::read(directory / "k"), "contents\n");
    EXPECT_EQ(TempDirectory::mode_of(directory / "k"), 0600U);
    EXPECT_EQ(directory.count_files(), 1U);
}

TEST(CreatePrivateFile, NeverReplacesAnything) {
    const TempDirectory directory;
    directory.write("file", "old", 0644);
    ASSERT_EQ(::symlink("nowhere", (directory / "dangling").c_str()), 0);
    ASSERT_EQ(::mkdir((directory / "directory").c_str(), 0700), 0);
    for (const char* name : {"file", "dangling", "directory"}) {
        const auto outcome = create_private_file(directory / name, "new");
        ASSERT_TRUE(outcome) << name << outcome.error().message;
        EXPECT_EQ(*outcome, CreateOutcome::existed) << name;
    }
    EXPECT_EQ(TempDirectory::read(directory / "file"), "old");
    EXPECT_EQ(TempDirectory::mode_of(directory / "file"), 0644U);
    EXPECT_FALSE(std::filesystem::exists(directory / "nowhere"));
    EXPECT_EQ(directory.count_files(), 3U);  // no temporary file stays behind
}

TEST(CreatePrivateFile, ErrorsNameTheFileAndARemedy) {
    const TempDirectory directory;
    EXPECT_EQ(create_private_file(directory / "missing/k", "x").error().message,
              directory / "missing/k" +
                  ": cannot be created (No such file or directory): choose another path, or make the "
                  "directory and let this user write to it");
}

TEST(CreatePrivateFile, OfManyProcessesExactlyOneCreates) {
    const TempDirectory directory;
    const std::string path = directory / "k";
    constexpr int kProcesses = 8;
    int gate[2];
    ASSERT_EQ(::pipe(gate), 0);
    std::vector<pid_t> children;
    for (int i = 0; i < kProcesses; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            char byte = 0;
            ::close(gate[1]);
            [[maybe_unused]] const ssize_t ended =
                ::read(gate[0], &byte, 1);  // all start when the parent closes its end
            const auto outcome = create_private_file(path, "contents");
            ::_exit(!outcome ? 2 : *outcome == CreateOutcome::created ? 1 : 0);
        }
        children.push_back(child);
    }
    ::close(gate[0]);
    ::close(gate[1]);
    int created = 0;
    for (const pid_t child : children) {
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFEXITED(status));
        EXPECT_NE(WEXITSTATUS(status), 2);
        created += WEXITSTATUS(status);
    }
    EXPECT_EQ(created, 1);
    EXPECT_EQ(TempDirectory::read(path), "contents");
    EXPECT_EQ(directory.count_files(), 1U);
}

TEST(MakePrivateDirectory, MakesWhatIsMissingWithMode0700) {
    const TempDirectory directory;
    const std::string deep = directory / "a/b/c";
    ASSERT_TRUE(make_private_directory(deep));
    ASSERT_TRUE(make_private_directory(deep));
    ASSERT_TRUE(make_private_directory(deep + "/"));
    for (const char* name : {"a", "a/b", "a/b/c"}) EXPECT_EQ(TempDirectory::mode_of(directory / name), 0700U) << name;
    directory.write("file", "x");
    EXPECT_FALSE(make_private_directory(directory / "file"));
    EXPECT_FALSE(make_private_directory(directory / "file/below"));
    EXPECT_EQ(make_private_directory(directory / "file").error().message,
              directory / "file" + " is not a directory: move it away, or give a path with --identity");
}

TEST(HexSecret, DecodesBothCasesAndEncodesLower) {
    Secret<32> secret;
    for (size_t i = 0; i < 32; ++i) secret.writable()[i] = static_cast<uint8_t>(i * 8 + 7);
    Secret<64> digits;
    encode_hex_secret(secret, digits.writable());
    std::string text(reinterpret_cast<const char*>(digits.bytes().data()), 64);
    EXPECT_EQ(text, "070f171f272f373f474f575f676f777f878f979fa7afb7bfc7cfd7dfe7eff7ff");
    EXPECT_TRUE(decode_hex_secret(text).value() == secret);
    for (char& c : text) c = c >= 'a' ? static_cast<char>(c - 32) : c;
    EXPECT_TRUE(decode_hex_secret(text).value() == secret);
    EXPECT_EQ(decode_hex_secret(text.substr(1)).error().message, "63 characters where 64 hex digits belong");
    EXPECT_EQ(decode_hex_secret(text + "0").error().message, "65 characters where 64 hex digits belong");
    EXPECT_EQ(decode_hex_secret("").error().message, "0 characters where 64 hex digits belong");
    for (size_t i = 0; i < 64; ++i) {
        std::string bad = text;
        bad[i] = 'g';
        EXPECT_EQ(decode_hex_secret(bad).error().message, "character " + std::to_string(i + 1) + " is not a hex digit");
    }
}

}  // namespace
}  // namespace qanat::controlplane
