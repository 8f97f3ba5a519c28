#include "dataplane/tunnel/session_registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <set>
#include <thread>

#include "common/ring/codec.h"
#include "tests/unit/dataplane/tunnel/install_session.h"

namespace qanat::dataplane {
namespace {

using ring::SessionSide;

TEST(SessionRegistry, takes_over_every_field) {
    SessionRegistry registry(8);
    const ring::InstallSession install = install_session(7, 42, SessionSide::node);
    const auto session = registry.acquire(install);
    ASSERT_NE(session, nullptr);
    EXPECT_EQ(session->id, 7U);
    EXPECT_EQ(session->node, 42U);
    EXPECT_EQ(session->side, SessionSide::node);
    EXPECT_EQ(session->suite, crypto::Suite::chacha20_poly1305);
    EXPECT_TRUE(std::ranges::equal(session->data_secret.bytes(), install.data_secret));
    EXPECT_TRUE(std::ranges::equal(session->header_key.bytes(), install.header_key));
    EXPECT_EQ(session->peer, install.peer);
    EXPECT_EQ(session->window.window(), 65536U);
    EXPECT_EQ(session->next_stream.load(), 0U);
    EXPECT_FALSE(session->confirmed.load());
}

TEST(SessionRegistry, a_client_needs_no_confirmation_and_no_window) {
    SessionRegistry registry(8);
    const auto session = registry.acquire(install_session(7));
    EXPECT_TRUE(session->confirmed.load());
    EXPECT_EQ(session->window.window(), 64U);
}

TEST(SessionRegistry, everybody_gets_the_same_object) {
    SessionRegistry registry(8);
    const auto first = registry.acquire(install_session(7));
    const auto second = registry.acquire(install_session(7));
    const auto other = registry.acquire(install_session(8));
    EXPECT_EQ(first, second);
    EXPECT_NE(first, other);
    EXPECT_EQ(first.use_count(), 2);
    EXPECT_EQ(registry.size(), 2U);
}

TEST(SessionRegistry, an_id_that_ended_never_comes_back) {
    SessionRegistry registry(8);
    auto session = registry.acquire(install_session(7));
    auto again = registry.acquire(install_session(7));
    session.reset();
    EXPECT_NE(registry.acquire(install_session(7)), nullptr);  // one engine still has it
    again.reset();
    EXPECT_EQ(registry.size(), 0U);
    EXPECT_EQ(registry.acquire(install_session(7)), nullptr);
    EXPECT_EQ(registry.acquire(install_session(7)), nullptr);
    EXPECT_NE(registry.acquire(install_session(8)), nullptr);
    EXPECT_EQ(registry.acquire(install_session(8)), nullptr);  // it ended with the temporary above
}

TEST(SessionRegistry, one_id_with_other_contents_is_refused) {
    SessionRegistry registry(8);
    const ring::InstallSession right = install_session(7, 1, SessionSide::node);
    const auto session = registry.acquire(right);
    std::vector<ring::InstallSession> wrong(7, right);
    wrong[0].side = SessionSide::client;
    wrong[1].suite = 1;
    wrong[2].node = 2;
    wrong[3].data_secret[31] ^= 1;
    wrong[4].header_key[0] ^= 1;
    wrong[5].peer[0] ^= 1;
    wrong[6].window = 128;
    for (const auto& install : wrong) EXPECT_EQ(registry.acquire(install), nullptr);
    EXPECT_EQ(registry.acquire(right), session);
}

TEST(SessionRegistry, a_command_that_is_not_valid_changes_nothing) {
    SessionRegistry registry(8);
    const ring::InstallSession right = install_session(7, 1, SessionSide::node);
    std::vector<ring::InstallSession> wrong(9, right);
    wrong[0].session_id = 0;
    wrong[1].side = SessionSide{0};
    wrong[2].side = SessionSide{3};
    wrong[3].suite = 0;
    wrong[4].suite = 4;
    wrong[5].window = 0;
    wrong[6].window = 63;
    wrong[7].window = 65;
    wrong[8].window = ring::kSessionWindowMax + 64;
    for (const auto& install : wrong) EXPECT_EQ(registry.acquire(install), nullptr);
    EXPECT_EQ(registry.size(), 0U);
    ring::InstallSession edge = install_session(7, 1, SessionSide::node);
    edge.window = 64;
    EXPECT_NE(registry.acquire(edge), nullptr);
    edge.session_id = 8;
    edge.window = ring::kSessionWindowMax;
    EXPECT_NE(registry.acquire(edge), nullptr);
}

TEST(SessionRegistry, a_session_may_outlive_the_registry) {
    std::optional<SessionRegistry> registry(8);
    const auto session = registry->acquire(install_session(7));
    registry.reset();
    EXPECT_EQ(session->id, 7U);
    EXPECT_EQ(session->next_stream.fetch_add(1), 0U);
}

TEST(SessionRegistry, two_threads_get_one_session) {
    SessionRegistry registry(4096);
    constexpr uint64_t kSessions = 500;
    std::array<std::vector<std::shared_ptr<SharedSession>>, 2> got;
    std::array<std::vector<uint64_t>, 2> numbers;
    const auto engine = [&](size_t which) {
        for (uint64_t id = 1; id <= kSessions; ++id) {
            got[which].push_back(registry.acquire(install_session(id, 0, SessionSide::node)));
            for (int i = 0; i < 4; ++i) numbers[which].push_back(got[which].back()->next_stream.fetch_add(1));
        }
    };
    std::thread one(engine, 0), other(engine, 1);
    one.join();
    other.join();
    EXPECT_EQ(got[0], got[1]);
    for (uint64_t id = 1; id <= kSessions; ++id) {
        std::set<uint64_t> used;
        for (const auto& list : numbers)
            for (size_t i = 4 * (id - 1); i < 4 * id; ++i) used.insert(list[i]);
        EXPECT_EQ(used.size(), 8U);
        EXPECT_EQ(*used.rbegin(), 7U);
    }
}

// Whatever the interleaving of install and end: a window that has accepted a number never loses it. Each id lives at
// most once, so each (id, number) is accepted at most once.
TEST(SessionRegistry, two_threads_installing_and_ending) {
    SessionRegistry registry(1 << 16);
    constexpr uint64_t kSessions = 2000;
    std::array<std::vector<uint8_t>, 2> accepted{std::vector<uint8_t>(kSessions), std::vector<uint8_t>(kSessions)};
    const auto engine = [&](size_t which) {
        for (uint64_t id = 1; id <= kSessions; ++id) {
            ring::InstallSession install = install_session(id, 0, SessionSide::node);
            install.window = 64;
            if (const auto session = registry.acquire(install))
                accepted[which][id - 1] = session->window.test_and_set(5) ? 1 : 0;
        }
    };
    std::thread one(engine, 0), other(engine, 1);
    one.join();
    other.join();
    for (uint64_t i = 0; i < kSessions; ++i) EXPECT_EQ(accepted[0][i] + accepted[1][i], 1);
    EXPECT_EQ(registry.size(), 0U);
    for (uint64_t id = 1; id <= kSessions; ++id) EXPECT_EQ(registry.acquire(install_session(id)), nullptr);
}

}  // namespace
}  // namespace qanat::dataplane
