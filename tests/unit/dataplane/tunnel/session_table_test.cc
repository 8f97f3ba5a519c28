#include "dataplane/tunnel/session_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "tests/unit/dataplane/tunnel/install_session.h"

namespace qanat::dataplane {
namespace {

using ring::SessionSide;

std::shared_ptr<SharedSession> session(uint64_t id, uint32_t node = 0, SessionSide side = SessionSide::client) {
    ring::InstallSession install = install_session(id, node, side);
    install.window = 64;
    return std::make_shared<SharedSession>(install);
}

TEST(SessionTable, empty) {
    SessionTable table(4);
    EXPECT_EQ(table.find(1), nullptr);
    EXPECT_EQ(table.find(0), nullptr);
    EXPECT_EQ(table.current_for_node(0), nullptr);
    EXPECT_FALSE(table.remove(1));
    EXPECT_EQ(table.size(), 0U);
    EXPECT_FALSE(table.install(nullptr));
}

TEST(SessionTable, finds_what_was_installed) {
    SessionTable table(4);
    const auto one = session(1, 10), other = session(2, 20);
    EXPECT_TRUE(table.install(one));
    EXPECT_TRUE(table.install(other));
    EXPECT_EQ(table.find(1), one.get());
    EXPECT_EQ(table.find(2), other.get());
    EXPECT_EQ(table.find(3), nullptr);
    EXPECT_EQ(table.current_for_node(10), one.get());
    EXPECT_EQ(table.current_for_node(20), other.get());
    EXPECT_EQ(table.current_for_node(30), nullptr);
}

TEST(SessionTable, full_and_again_free) {
    for (const size_t capacity : {0U, 1U, 2U, 3U, 8U}) {
        SessionTable table(capacity);
        for (uint64_t id = 1; id <= capacity; ++id) EXPECT_TRUE(table.install(session(id)));
        EXPECT_FALSE(table.install(session(100)));
        EXPECT_EQ(table.size(), capacity);
        EXPECT_EQ(table.find(100), nullptr);
        if (capacity == 0) continue;
        EXPECT_TRUE(table.remove(1));
        EXPECT_TRUE(table.install(session(100)));
        EXPECT_NE(table.find(100), nullptr);
    }
}

TEST(SessionTable, an_id_is_installed_once) {
    SessionTable table(4);
    const auto first = session(1, 10);
    EXPECT_TRUE(table.install(first));
    EXPECT_FALSE(table.install(first));
    EXPECT_FALSE(table.install(session(1, 20)));
    EXPECT_EQ(table.size(), 1U);
    EXPECT_EQ(table.current_for_node(20), nullptr);
}

TEST(SessionTable, owns_until_removed) {
    SessionTable table(4);
    std::weak_ptr<SharedSession> watched;
    {
        auto one = session(1);
        watched = one;
        EXPECT_TRUE(table.install(std::move(one)));
    }
    EXPECT_FALSE(watched.expired());
    EXPECT_TRUE(table.remove(1));
    EXPECT_TRUE(watched.expired());
    EXPECT_FALSE(table.remove(1));
}

TEST(SessionTable, the_newest_session_of_a_node_is_the_current_one) {
    SessionTable table(8);
    const auto a = session(5, 10), b = session(3, 10), c = session(9, 10), elsewhere = session(1, 11);
    for (const auto& each : {a, b, c, elsewhere}) EXPECT_TRUE(table.install(each));
    EXPECT_EQ(table.current_for_node(10), c.get());
    EXPECT_TRUE(table.remove(5));  // an older one
    EXPECT_EQ(table.current_for_node(10), c.get());
    EXPECT_TRUE(table.remove(9));  // back to the newest that is left
    EXPECT_EQ(table.current_for_node(10), b.get());
    EXPECT_TRUE(table.remove(3));
    EXPECT_EQ(table.current_for_node(10), nullptr);
    EXPECT_EQ(table.current_for_node(11), elsewhere.get());
}

TEST(SessionTable, sessions_of_the_node_side_have_no_node) {
    SessionTable table(4);
    const auto mine = session(2, 0, SessionSide::client);
    EXPECT_TRUE(table.install(session(1, 0, SessionSide::node)));
    EXPECT_EQ(table.current_for_node(0), nullptr);
    EXPECT_TRUE(table.install(mine));
    EXPECT_TRUE(table.install(session(3, 0, SessionSide::node)));
    EXPECT_EQ(table.current_for_node(0), mine.get());
    EXPECT_TRUE(table.remove(3));
    EXPECT_TRUE(table.remove(2));
    EXPECT_EQ(table.current_for_node(0), nullptr);
}

TEST(SessionTable, random_walk_against_a_map) {
    std::mt19937_64 random(3);
    for (const size_t capacity : {1U, 3U, 16U, 60U}) {
        SessionTable table(capacity);
        struct Entry {
            std::shared_ptr<SharedSession> session;
            int installed;
        };
        std::map<uint64_t, Entry> reference;
        for (int step = 0; step < 5000; ++step) {
            const uint64_t id = 1 + random() % (2 * capacity);
            const auto node = static_cast<uint32_t>(random() % 8);
            if (random() % 2 == 0) {
                const auto added = session(id, node, random() % 3 == 0 ? SessionSide::node : SessionSide::client);
                const bool fits = !reference.contains(id) && reference.size() < capacity;
                ASSERT_EQ(table.install(added), fits);
                if (fits) reference[id] = {added, step};
            } else {
                ASSERT_EQ(table.remove(id), reference.erase(id) == 1);
            }
            ASSERT_EQ(table.size(), reference.size());
            for (uint64_t each = 1; each <= 2 * capacity; ++each) {
                const auto found = reference.find(each);
                ASSERT_EQ(table.find(each), found == reference.end() ? nullptr : found->second.session.get());
            }
            for (uint32_t each = 0; each < 8; ++each) {
                const Entry* newest = nullptr;
                for (const auto& [key, entry] : reference)
                    if (entry.session->side == SessionSide::client && entry.session->node == each &&
                        (newest == nullptr || entry.installed > newest->installed))
                        newest = &entry;
                ASSERT_EQ(table.current_for_node(each), newest == nullptr ? nullptr : newest->session.get());
            }
        }
    }
}

}  // namespace
}  // namespace qanat::dataplane
