#include "common/wire/session_secrets.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/wire/control_message.h"
#include "tests/vectors/vector_file.h"

namespace qanat::wire {
namespace {

using crypto::Aead;
using Bytes32 = std::span<const uint8_t, 32>;

TEST(SessionSecrets, KnownAnswers) {
    int checked = 0;
    for (const auto& c : test::read_vectors("key_schedule.txt")) {
        if (c.text("case") != "session") continue;
        ++checked;
        SCOPED_TRACE("suite " + c.text("suite"));
        const auto suite = crypto::suite_from_id(static_cast<uint8_t>(c.number("suite")));
        ASSERT_TRUE(suite);
        const auto h = c.bytes("h"), k1 = c.bytes("k1"), k2 = c.bytes("k2");
        const SessionSecrets secrets =
            derive_session_secrets(Bytes32(h), Bytes32(k1), Bytes32(k2), c.number("session_id"), *suite);
        EXPECT_EQ(secrets.session_id, c.number("session_id"));
        EXPECT_EQ(secrets.suite, *suite);
        EXPECT_TRUE(std::ranges::equal(secrets.data.bytes(), c.bytes("s_data")));
        EXPECT_TRUE(std::ranges::equal(secrets.ctl_client.bytes(), c.bytes("s_ctl_c")));
        EXPECT_TRUE(std::ranges::equal(secrets.ctl_node.bytes(), c.bytes("s_ctl_n")));

        DirectionKey key = control_key(secrets.ctl_client, *suite);
        EXPECT_TRUE(std::ranges::equal(key.key_bytes(), c.bytes("ctl_c_key")));
        EXPECT_TRUE(std::ranges::equal(key.iv, c.bytes("ctl_c_iv")));
        if (!Aead::supports(*suite)) continue;
        Aead aead;
        aead.expand(*suite, key.key_bytes());
        std::array<uint8_t, kControlRecordSize> record;
        EXPECT_EQ(
            seal_control_record(aead, key, record, {.kind = ControlMessage::Kind::ping, .token = 0x1122334455667788}),
            128u);
        EXPECT_TRUE(std::ranges::equal(record, c.bytes("ping")));
    }
    EXPECT_EQ(checked, 3);
}

}  // namespace
}  // namespace qanat::wire
