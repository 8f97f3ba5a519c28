#include "dataplane/socks5/users.h"

#include <gtest/gtest.h>

#include <string>

#include "common/crypto/sha256.h"

namespace qanat::dataplane {
namespace {

// What the control plane computes from user and password.
std::array<uint8_t, 32> tag_of(const std::array<uint8_t, 32>& salt, const std::string& user,
                               const std::string& password) {
    std::string text(1, static_cast<char>(user.size()));
    text += user + password;
    return crypto::hmac_sha256(salt, {as_bytes(text)});
}

struct Login {
    std::string user;
    std::string password;
};

ring::Users users_of(std::initializer_list<Login> logins) {
    ring::Users users{};
    users.required = 1;
    users.salt.fill(0x5a);
    for (const Login& login : logins) users.tags[users.count++] = tag_of(users.salt, login.user, login.password);
    return users;
}

bool accepts(const Socks5Users& users, const std::string& user, const std::string& password) {
    return users.accept(as_bytes(user), as_bytes(password));
}

TEST(Socks5Users, default_requires_nobody) {
    const Socks5Users users;
    EXPECT_FALSE(users.required);
    EXPECT_TRUE(accepts(users, "anybody", "anything"));
}

TEST(Socks5Users, not_required_accepts_whatever_the_tags_say) {
    ring::Users message = users_of({{"alice", "secret"}});
    message.required = 0;
    EXPECT_TRUE(accepts(Socks5Users(message), "mallory", "guess"));
}

TEST(Socks5Users, required_with_no_tags_accepts_nobody) {
    const Socks5Users users(users_of({}));
    EXPECT_FALSE(accepts(users, "", ""));
    EXPECT_FALSE(accepts(users, "alice", "secret"));
}

TEST(Socks5Users, table) {
    const Socks5Users users(
        users_of({{"alice", "secret"}, {"bob", ""}, {"", "token"}, {std::string(255, 'u'), std::string(255, 'p')}}));
    const struct {
        std::string user, password;
        bool accepted;
    } table[] = {
        {"alice", "secret", true},
        {"alice", "Secret", false},
        {"alice", "", false},
        {"alice", std::string("secret\0", 7), false},
        {"alic", "esecret", false},  // the same bytes, cut elsewhere: the length is part of the tag
        {"alices", "ecret", false},
        {"bob", "", true},
        {"bob", "x", false},
        {"", "token", true},
        {"", "", false},
        {std::string(255, 'u'), std::string(255, 'p'), true},
        {std::string(254, 'u'), std::string(255, 'p'), false},
        {std::string(255, 'u'), std::string(254, 'p'), false},
    };
    for (const auto& row : table)
        EXPECT_EQ(accepts(users, row.user, row.password), row.accepted) << row.user << ' ' << row.password;
}

TEST(Socks5Users, every_place_counts_and_none_behind_the_last) {
    ring::Users message = users_of({});
    for (uint8_t i = 0; i < ring::kUsersMax; ++i)
        message.tags[i] = tag_of(message.salt, "user" + std::to_string(i), "password");
    for (uint8_t count = 0; count <= ring::kUsersMax; ++count) {
        message.count = count;
        const Socks5Users users(message);
        for (unsigned i = 0; i < ring::kUsersMax; ++i)
            EXPECT_EQ(accepts(users, "user" + std::to_string(i), "password"), i < count) << i << " of " << int{count};
    }
    message.count = 255;  // the codec refuses it; here it must not read behind the array
    EXPECT_TRUE(accepts(Socks5Users(message), "user15", "password"));
}

TEST(Socks5Users, one_bit_of_a_tag_or_the_salt_makes_it_wrong) {
    const ring::Users right = users_of({{"alice", "secret"}});
    for (size_t bit = 0; bit < 256; ++bit) {
        ring::Users wrong = right;
        wrong.tags[0][bit / 8] = static_cast<uint8_t>(wrong.tags[0][bit / 8] ^ 1U << bit % 8);
        EXPECT_FALSE(accepts(Socks5Users(wrong), "alice", "secret"));
        wrong = right;
        wrong.salt[bit / 8] = static_cast<uint8_t>(wrong.salt[bit / 8] ^ 1U << bit % 8);
        EXPECT_FALSE(accepts(Socks5Users(wrong), "alice", "secret"));
    }
}

}  // namespace
}  // namespace qanat::dataplane
