#include "controlplane/config/network_key.h"

#include <gtest/gtest.h>

#include "tests/unit/controlplane/config/temp_directory.h"

namespace qanat::controlplane {
namespace {

const std::string kDigits = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const std::string kText = "/key/swarm/psk/1.0.0/\n/base16/\n" + kDigits + "\n";

NetworkKey counting_key() {
    NetworkKey key;
    for (size_t i = 0; i < 32; ++i) key.writable()[i] = static_cast<uint8_t>(i);
    return key;
}

TEST(NetworkKey, FormatIsTheThreeLines) {
    const auto text = format_network_key(counting_key());
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(text.bytes().data()), text.kSize), kText);
}

TEST(NetworkKey, AcceptsCrLfAndAMissingLastNewline) {
    for (const std::string& text :
         {kText, kText.substr(0, kText.size() - 1), "/key/swarm/psk/1.0.0/\r\n/base16/\r\n" + kDigits + "\r\n",
          "/key/swarm/psk/1.0.0/\r\n/base16/\r\n" + kDigits}) {
        const auto key = parse_network_key(text);
        ASSERT_TRUE(key) << key.error().message;
        EXPECT_TRUE(*key == counting_key());
    }
}

TEST(NetworkKey, RefusesAnythingElseNamingTheLine) {
    const std::string remedy = ": make a new key with 'qanat keygen', or copy the file of your network again";
    const std::string not_key = "line 1: not \"/key/swarm/psk/1.0.0/\", so this is no network key";
    const std::string not_base16 = "line 2: not \"/base16/\", the only encoding there is";
    const std::string head = "/key/swarm/psk/1.0.0/\n/base16/\n";
    struct Case {
        std::string text;
        std::string message;
    };
    const Case cases[] = {
        {"", "line 1: missing, a network key has three lines"},
        {"\n", not_key},
        {"/key/swarm/psk/2.0.0/\n/base16/\n" + kDigits, not_key},
        {" " + kText, not_key},
        {"/key/swarm/psk/1.0.0/ \n/base16/\n" + kDigits, not_key},
        {"/key/swarm/psk/1.0.0/\r\r\n/base16/\n" + kDigits, not_key},
        {"\xef\xbb\xbf" + kText, not_key},
        {kDigits, not_key},
        {"/key/swarm/psk/1.0.0/", "line 2: missing, a network key has three lines"},
        {"/key/swarm/psk/1.0.0/\n/base64/\nAAAA", not_base16},
        {"/key/swarm/psk/1.0.0/\n\n/base16/\n" + kDigits, not_base16},
        {"/key/swarm/psk/1.0.0/\n" + kDigits + "\n", not_base16},
        {head, "line 3: missing, a network key has three lines"},
        {head + "\n", "line 3: 0 characters where 64 hex digits belong"},
        {head + kDigits.substr(1), "line 3: 63 characters where 64 hex digits belong"},
        {head + kDigits + "0", "line 3: 65 characters where 64 hex digits belong"},
        {head + kDigits + " ", "line 3: 65 characters where 64 hex digits belong"},
        {head + "x" + kDigits.substr(1), "line 3: character 1 is not a hex digit"},
        {kText + "\n", "line 4: a network key has three lines and ends there"},
        {kText + "# comment", "line 4: a network key has three lines and ends there"},
        {kText + kText, "line 4: a network key has three lines and ends there"},
    };
    for (const Case& c : cases) {
        const auto key = parse_network_key(c.text);
        ASSERT_FALSE(key) << c.text;
        EXPECT_EQ(key.error().message, c.message + remedy);
        EXPECT_EQ(key.error().message.find("0405060708"), std::string::npos);
    }
}

TEST(NetworkKey, EveryPrefixButTheWholeIsRefused) {
    for (size_t size = 0; size + 1 < kText.size(); ++size)
        EXPECT_FALSE(parse_network_key(kText.substr(0, size))) << size;
}

TEST(NetworkKey, WritesOnceAndReadsBack) {
    const TempDirectory directory;
    const std::string path = directory / "network.key";
    ASSERT_TRUE(write_network_key(path, counting_key()));
    EXPECT_EQ(TempDirectory::read(path), kText);
    EXPECT_EQ(TempDirectory::mode_of(path), 0600U);
    EXPECT_TRUE(load_network_key(path).value() == counting_key());
    EXPECT_EQ(write_network_key(path, NetworkKey{}).error().message,
              path + " exists and is never overwritten: move it away, or choose another path with --out");
    EXPECT_EQ(TempDirectory::read(path), kText);
}

TEST(NetworkKey, LoadErrorsNameTheFile) {
    const TempDirectory directory;
    const std::string path = directory / "network.key";
    EXPECT_EQ(load_network_key(path).error().message,
              path + ": no such file: make a new key with 'qanat keygen', or give the right path with --key");
    directory.write("network.key", "x");
    EXPECT_EQ(load_network_key(path).error().message,
              path +
                  ": line 1: not \"/key/swarm/psk/1.0.0/\", so this is no network key: make a new key with 'qanat "
                  "keygen', or copy the file of your network again");
    directory.write("network.key", kText, 0644);
    EXPECT_EQ(load_network_key(path).error().message,
              path + " is readable by others (mode 0644): run 'chmod 600 " + path + "'");
}

TEST(NetworkKey, FingerprintIsStableAndShort) {
    const std::string fingerprint = network_key_fingerprint(counting_key());
    EXPECT_EQ(fingerprint.size(), 16U);
    EXPECT_EQ(fingerprint, network_key_fingerprint(counting_key()));
    EXPECT_NE(fingerprint, network_key_fingerprint(NetworkKey{}));
}

}  // namespace
}  // namespace qanat::controlplane
