#include "controlplane/handshake/client_node.h"

#include <algorithm>
#include <utility>

#include "common/base/assert.h"

namespace qanat::controlplane {
namespace {

// A connection's number says whose it is: the bits from here up to the top one are the node's number.
constexpr unsigned kNodeShift = 48;
static_assert(uint64_t{ring::kPlanHopsMax} << kNodeShift <= ring::kOutgoingConnectionBit);

}  // namespace

ClientNode::ClientNode(const Context& context, NodeSession::Settings times, NodeSpec spec)
    : context_(context), times_(times), spec_(std::move(spec)), log_(spec_, context.relays), machine_(times) {}

uint32_t ClientNode::number_of(uint64_t connection) {
    return static_cast<uint32_t>((connection & ~ring::kOutgoingConnectionBit) >> kNodeShift);
}

void ClientNode::start(Instant now) {
    perform(machine_.start(now), now);
}

void ClientNode::data_plane_lost(Instant now) {
    if (attempt_ != nullptr) attempt_->abandon();
    discard_attempt();
    live_.reset();
    opened_.reset();
    machine_.data_plane_lost(now);
    ejection_.forget();
    traffic_.engines_ended();
}

void ClientNode::end() {
    discard_attempt();
    opened_.reset();
    if (live_) end_session(false);
}

void ClientNode::take_spec(NodeSpec spec, Instant now) {
    QANAT_ASSERT(spec.number == spec_.number && spec.id == spec_.id);
    const bool same = spec_.paths == spec.paths;
    spec_ = std::move(spec);
    if (same || machine_.state() == NodeSession::State::idle) return;
    resting_.keep_only(spec_.paths);
    if (attempt_ != nullptr) begin_attempt(now);
    if (live_) {
        const auto rank = live_->rank_among(spec_.paths);
        if (!rank) perform(machine_.path_removed(now), now);
        machine_.set_improvable(rank.value_or(0) > 0, now, random());
    }
    machine_.hurry(now);
}

void ClientNode::set_times(NodeSession::Settings times, Instant now) {
    times_ = times;
    machine_.set_settings(times, now);
}

void ClientNode::perform(const NodeSession::Actions& actions, Instant now) {
    for (const NodeSession::Action action : actions) {
        switch (action) {
            case NodeSession::Action::begin_attempt:
                begin_attempt(now);
                break;
            case NodeSession::Action::cancel_attempt:
                discard_attempt();
                break;
            case NodeSession::Action::adopt_session:
                QANAT_ASSERT(opened_.has_value());
                live_ = std::exchange(opened_, std::nullopt);
                ejection_.forget();
                break;
            case NodeSession::Action::replace_session:
                replace_session(now);
                break;
            case NodeSession::Action::lose_session:
            case NodeSession::Action::leave_session:
                QANAT_ASSERT(live_.has_value());
                log_.lost(*live_, machine_.last_error());
                end_session(action == NodeSession::Action::lose_session);
                break;
            case NodeSession::Action::send_ping:
                send_ping();
                break;
        }
    }
    if (!actions.empty()) context_.owner.node_changed();
}

void ClientNode::begin_attempt(Instant now) {
    discard_attempt();
    // Control connections are spread over the engines.
    const uint32_t engines = context_.port.engines();
    attempt_ = std::make_unique<ClientAttempt>(
        ClientAttempt::Context{.port = context_.port,
                               .credentials = context_.credentials,
                               .random = context_.random,
                               .lookup = context_.lookup,
                               .relays = context_.relays,
                               .next_connection = context_.next_connection},
        spec_.id, paths_to_try(now), times_.timeout, engines == 0 ? 0 : spec_.number % engines,
        uint64_t{spec_.number} << kNodeShift,
        ClientAttempt::Handlers{
            .on_opened = [this](OpenedSession opened, Instant at) { attempt_opened(std::move(opened), at); },
            .on_failed = [this](std::string reason, Instant at) { attempt_failed(std::move(reason), at); },
            .on_path_failed = [this](const NodePath& path, Instant at) { resting_.failed(path, at); },
        });
    // It may end, and be replaced, from inside.
    ClientAttempt& attempt = *attempt_;
    attempt.start(now);
}

std::vector<NodePath> ClientNode::paths_to_try(Instant now) const {
    if (machine_.improving()) {
        const auto better = static_cast<ptrdiff_t>(rank_of_session());
        return {spec_.paths.begin(), spec_.paths.begin() + better};
    }
    return resting_.in_order(spec_.paths, now);
}

void ClientNode::attempt_opened(OpenedSession opened, Instant now) {
    discard_attempt();
    tried_ = true;
    context_.owner.attempt_ended(true);
    context_.sessions.install(spec_.number, spec_.id, opened.session);
    const bool had_session = live_.has_value();
    const bool new_path = opened.path.via != last_via_ || opened.address != last_address_;
    const crypto::Suite suite = opened.session.secrets.suite;
    const std::chrono::seconds lifetime(opened.session.lifetime_s);
    const ControlChannel::Input first_input = std::move(opened.first_input);
    resting_.worked(opened.path);
    last_address_ = opened.address;
    last_via_ = opened.path.via;
    opened_.emplace(std::move(opened));
    const uint64_t session_id = opened_->id();
    log_.opened(!had_session ? NodeLog::Opened::first
                : new_path   ? NodeLog::Opened::moved
                             : NodeLog::Opened::renewed,
                *opened_, suite, lifetime);
    perform(machine_.attempt_succeeded(now, lifetime, random(), new_path), now);
    machine_.set_improvable(rank_of_session() > 0, now, random());
    if (!had_session || new_path) context_.owner.node_event(*this, Event::up);
    handle_input(session_id, first_input, now);
}

void ClientNode::attempt_failed(std::string reason, Instant now) {
    const bool improving = machine_.improving();
    if (!live_) last_address_ = attempt_->address();
    discard_attempt();
    tried_ = true;
    context_.owner.attempt_ended(false);
    if (!improving) log_.unreachable(reason);
    perform(machine_.attempt_failed(now, std::move(reason), random()), now);
    if (!improving) context_.owner.node_event(*this, Event::failed);
    context_.owner.node_changed();
}

void ClientNode::discard_attempt() {
    // It may be inside one of its members right now.
    if (attempt_ != nullptr) ended_attempts_.push_back(std::move(attempt_));
}

void ClientNode::replace_session(Instant now) {
    QANAT_ASSERT(opened_.has_value() && live_.has_value());
    live_->close(context_.port);
    context_.sessions.retire(live_->id(), now);
    // What streams met was the other path's doing as far as anybody knows.
    if (opened_->path().via != live_->path().via) ejection_.forget();
    live_ = std::exchange(opened_, std::nullopt);
}

void ClientNode::end_session(bool node_lost) {
    context_.sessions.remove(live_->id(), node_lost);
    live_->close(context_.port);
    live_.reset();
    context_.owner.node_event(*this, Event::down);
}

void ClientNode::on_opened(const ring::ControlOpened& event, Instant now) {
    if (attempt_ != nullptr && attempt_->connection() == event.connection) attempt_->on_opened(event, now);
}

void ClientNode::on_data(uint64_t connection, Bytes bytes, Instant now) {
    if (live_ && live_->connection() == connection)
        handle_input(live_->id(), live_->feed(bytes), now);
    else if (attempt_ != nullptr && attempt_->connection() == connection)
        attempt_->on_data(bytes, now);
}

void ClientNode::on_closed(uint64_t connection, Instant now) {
    if (live_ && live_->connection() == connection) {
        live_->connection_ended();
        perform(machine_.control_lost(now, "the control connection ended"), now);
    } else if (attempt_ != nullptr && attempt_->connection() == connection) {
        attempt_->on_closed(now);
    }
}

void ClientNode::handle_input(uint64_t session_id, const ControlChannel::Input& input, Instant now) {
    const auto current = [&] { return live_ && live_->id() == session_id; };
    for (const wire::ControlMessage& message : input.messages) {
        if (!current()) return;
        switch (message.kind) {
            case wire::ControlMessage::Kind::ping:
                if (!send({.kind = wire::ControlMessage::Kind::pong, .token = message.token}))
                    perform(machine_.control_lost(now, "the control key is used up"), now);
                break;
            case wire::ControlMessage::Kind::pong:
                load_ = message.load;
                perform(machine_.pong(now, message.token), now);
                context_.owner.node_changed();  // a new latency
                break;
            case wire::ControlMessage::Kind::draining:
                perform(machine_.draining(now), now);
                break;
            case wire::ControlMessage::Kind::policy_answer:
            case wire::ControlMessage::Kind::punch_answer:
                context_.owner.node_answered(*this, message);
                break;
            case wire::ControlMessage::Kind::ask_policy:
            case wire::ControlMessage::Kind::punch:
                perform(machine_.control_lost(now, "the node asked what only a client may ask"), now);
                return;
        }
    }
    if (input.ended && current()) perform(machine_.control_lost(now, "the node ended the control connection"), now);
}

bool ClientNode::send(const wire::ControlMessage& message) {
    return live_ && live_->send(context_.port, message);
}

void ClientNode::send_ping() {
    // A key that is used up shows as a missing PONG.
    [[maybe_unused]] const bool sent = send({.kind = wire::ControlMessage::Kind::ping, .token = machine_.ping_token()});
}

void ClientNode::on_own_stream_failed(const ring::HopFailed& event, Instant now) {
    if (event.stage != ring::HopStage::response && event.status == 0) resting_.failed(live_->path(), now);
    if (NodeSession::speaks_of_the_node(event.stage, event.error, event.status) && ejection_.failed(now, random()))
        ejection_changed(now);
}

void ClientNode::on_relay_failed(Instant now) {
    // The relay's trouble, or the way behind it: not the node's.
    resting_.failed(live_->path(), now);
    perform(machine_.hop_failed(now, ring::HopStage::connect, 0, 0, random()), now);
}

void ClientNode::on_failed_here(const ring::HopFailed& event, Instant now) {
    if (live_) perform(machine_.hop_failed(now, event.stage, event.error, event.status, random()), now);
}

void ClientNode::on_stats(uint32_t engine, const ring::NodeStatsEntry& entry, Instant now) {
    const NodeTraffic::News news = traffic_.take(engine, entry);
    if (news.opened && ejection_.succeeded()) ejection_changed(now);
    if (news.round_trip) machine_.round_trip(*news.round_trip);
    if (news.punched) log_.punched(*news.punched, session());
}

void ClientNode::ejection_changed(Instant now) {
    const Ejection::State state = ejection_.state();
    log_.ejection(ejection_, now);
    // A relay that carries the control connection may still break the streams: perhaps it is only the path.
    if (state == Ejection::State::ejected && live_ && spec_.paths.size() > 1) {
        resting_.failed(live_->path(), now);
        perform(machine_.path_removed(now), now);
    }
    if (state == Ejection::State::trial) perform(machine_.check(now, random()), now);
    context_.owner.node_changed();
}

void ClientNode::relays_changed(const std::vector<uint32_t>& came_up, Instant now) {
    if (live_ && !live_->path().via.empty()) {
        const RelayView::Answer answer = context_.relays.route(live_->path().via, live_->address());
        if (answer.state != RelayView::State::ready) {
            resting_.failed(live_->path(), now);
            perform(machine_.path_lost(now, answer.reason), now);
        }
    }
    if (attempt_ != nullptr) {
        // It may end, and be replaced, from inside.
        ClientAttempt& attempt = *attempt_;
        attempt.relays_changed(now);
    }
    const bool may_use_one = std::any_of(spec_.paths.begin(), spec_.paths.end(), [&](const NodePath& path) {
        return std::find_first_of(path.via.begin(), path.via.end(), came_up.begin(), came_up.end()) != path.via.end();
    });
    if (may_use_one) machine_.hurry(now);
}

void ClientNode::tick(Instant now) {
    if (attempt_ != nullptr) attempt_->tick(now);
    const uint64_t lost = machine_.probes_lost();
    const NodeSession::Actions actions = machine_.tick(now, random());
    if (machine_.probes_lost() != lost) resting_.failed(live_->path(), now);
    perform(actions, now);
    if (ejection_.tick(now, random())) ejection_changed(now);
    resting_.forget_rested(now);
}

std::optional<Instant> ClientNode::deadline(Instant now) const {
    std::optional<Instant> next = machine_.deadline(now);
    const auto consider = [&next](std::optional<Instant> at) {
        if (at) next = next ? std::min(*next, *at) : *at;
    };
    consider(ejection_.deadline());
    if (attempt_ != nullptr) consider(attempt_->deadline());
    return next;
}

std::optional<wire::Endpoint> ClientNode::address_tried() const {
    return attempt_ != nullptr ? attempt_->address() : std::nullopt;
}

size_t ClientNode::rank_of_session() const {
    return live_->rank_among(spec_.paths).value_or(0);
}

}  // namespace qanat::controlplane
