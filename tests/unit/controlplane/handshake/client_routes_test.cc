// ClientRoutes: nodes that are each other's relays.
#include "controlplane/handshake/client_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/handshake/node_id.h"
#include "tests/unit/controlplane/handshake/client_net.h"

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(Net, APathWaitsForItsRelay) {
    make_node(1);
    make_node(2);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {2}, .addrs = {}}}), spec(2)}, now_);
    run();
    EXPECT_THAT(dialled_, ElementsAre("192.0.2.2:4000", "192.0.2.2:4000 >2"));
    EXPECT_TRUE(client_->is_up(1));
    const auto connects = sent<ring::ControlConnect>();
    EXPECT_EQ(connects[1].id, spec(1).id);
    EXPECT_EQ(client_->session_address(1), endpoint(2)) << "the relay";
    const auto hops = client_->routable_nodes(now_);
    EXPECT_EQ(hops[0].via_count, 1);
    EXPECT_EQ(hops[0].via[0].node, 2u);
    EXPECT_EQ(hops[0].via[0].next.family, 0) << "a reservation";
    EXPECT_THAT(client_->status(1).path, HasSubstr("via " + encode_node_id(spec(2).id) + " (192.0.2.2:4000)"));
}

TEST_F(Net, AChainOfRelaysIsBuiltOneByOne) {
    for (uint32_t i = 1; i <= 3; ++i) make_node(i);
    NodeSpec first = spec(1);
    NodeSpec second = spec(2, {{.via = {1}, .addrs = {address(2)}}});
    first.routable = second.routable = false;
    client_->start(now_);
    client_->set_nodes({first, second, spec(3, {{.via = {1, 2}, .addrs = {address(3)}}})}, now_);
    run();
    EXPECT_THAT(dialled_, ElementsAre("192.0.2.1:4000", "192.0.2.1:4000 >1@192.0.2.2:4000",
                                      "192.0.2.1:4000 >1@192.0.2.2:4000 >2@192.0.2.3:4000"));
    EXPECT_THAT(routable(), ElementsAre(3)) << "streams do not leave by the relays";
    EXPECT_EQ(client_->routable_nodes(now_)[0].via_count, 2);
    EXPECT_EQ(client_->routable_count(), 1u);

    // A relay in the middle ends: everything behind it does.
    kill(1);
    EXPECT_EQ(client_->nodes_up(), 0u);
    make_node(1);
    advance(seconds(1));
    advance(milliseconds(0));
    EXPECT_THAT(routable(), ElementsAre(3)) << "at once when the relay is back, without its own back-off";
}

TEST_F(Net, ARelayThatIsDownMakesRoomForTheNextPath) {
    make_node(1);
    make_node(3);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {2}, .addrs = {}}, {.via = {3}, .addrs = {}}}), spec(2), spec(3)}, now_);
    run();
    EXPECT_TRUE(client_->is_up(1));
    EXPECT_EQ(client_->session_address(1), endpoint(3));
    EXPECT_FALSE(client_->is_up(2));
}

TEST_F(Net, WhichRelayRefusedAndHow) {
    const struct {
        uint8_t status;
        const char* text;
    } kTable[] = {{7, "does not relay"},
                  {11, "is at capacity"},
                  {12, "is draining"},
                  {13, "knows no way to the next node"},
                  {14, "could not reach the next node"},
                  {15, "has reached the limit that it sets to each member"},
                  {99, "refused"}};
    make_node(1);
    make_node(2);
    const std::string relay = "relay " + encode_node_id(spec(2).id) + " (192.0.2.2:4000) ";
    client_->set_nodes({spec(1, {{.via = {2}, .addrs = {address(1)}}}), spec(2)}, now_);
    for (const auto& row : kTable) {
        relay_refusals_ = {{2, row.status}};
        client_->start(now_);
        run();
        EXPECT_THAT(client_->status(1).last_error, HasSubstr(relay + row.text));
        client_->reset(now_);
        port_.commands.clear();
        links_.clear();
    }
}

TEST_F(Net, ARelaysFailureIsNotTheNodes) {
    for (uint32_t i = 1; i <= 3; ++i) make_node(i);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {2}, .addrs = {}}, {.via = {3}, .addrs = {}}}), spec(2), spec(3)}, now_);
    run();
    ASSERT_EQ(client_->session_address(1), endpoint(2));
    for (int i = 0; i < 20; ++i) {
        hop_failed(1, 2, ring::HopStage::response, 15);
        advance(milliseconds(100));
    }
    EXPECT_EQ(client_->session_address(1), endpoint(3));
    EXPECT_EQ(client_->status(1).ejection, Ejection::State::in);
    EXPECT_EQ(client_->status(2).ejection, Ejection::State::in) << "as an exit it is well";
    EXPECT_TRUE(client_->is_up(2));
}

}  // namespace
}  // namespace qanat::controlplane
