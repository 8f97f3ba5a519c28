#include "controlplane/discovery/announcer.h"

#include <json/value.h>

#include <algorithm>
#include <utility>

#include "common/base/assert.h"
#include "common/base/log.h"
#include "controlplane/discovery/directory.h"
#include "controlplane/discovery/report.h"
#include "controlplane/discovery/wall_clock.h"

namespace qanat::controlplane {

NodeAnnouncer::NodeAnnouncer(EventLoop& loop, DiscoverySettings settings, AnnouncementKeys keys,
                             std::function<Announcement()> current, HostLookup lookup, RandomBytes random)
    : loop_(loop),
      settings_(std::move(settings)),
      keys_(std::move(keys)),
      current_(std::move(current)),
      random_(std::move(random)),
      redis_(loop, "announcer", settings_.redis, std::move(lookup), random_,
             {.on_ready = [this] { on_ready(); }, .on_lost = [this] { on_lost(); }}),
      refusals_(settings_.change_min, settings_.renew),
      timer_(loop, [this] { announce(); }),
      withdrawal_limit_(loop, [this] { finish_withdrawal(); }) {}

NodeAnnouncer::~NodeAnnouncer() = default;

void NodeAnnouncer::start() {
    redis_.start();
}

void NodeAnnouncer::on_ready() {
    // A clock that was set back would make everything we say look like a replay of what we said before: go on from the
    // number that our own entry has.
    redis_.command({"GETRANGE", keys_.key_of(current_().id), "0", std::to_string(AnnouncementKeys::kSealedSizeMax)},
                   [this](const RedisReply& reply) { on_own_entry(reply); });
}

void NodeAnnouncer::on_own_entry(const RedisReply& reply) {
    if (reply.kind == RedisReply::Kind::text) {
        const auto own = keys_.open(reply.text, keys_.key_of(current_().id));
        if (own) sequence_ = std::max(sequence_, own->sequence);
    }
    ready_to_announce_ = true;
    announce();
}

void NodeAnnouncer::on_lost() {
    ready_to_announce_ = false;
    timer_.cancel();
    due_.reset();
    if (leaving_) finish_withdrawal();
}

void NodeAnnouncer::schedule(Instant when) {
    if (due_ && *due_ <= when) return;
    due_ = when;
    timer_.start_at(when);
}

void NodeAnnouncer::changed() {
    // Without a connection there is nothing to do: a new one begins with an announcement.
    if (!ready_to_announce_ || leaving_) return;
    schedule(std::max(EventLoop::now(), announced_at_ + settings_.change_min));
}

void NodeAnnouncer::announce() {
    due_.reset();
    if (!ready_to_announce_ || leaving_) return;
    publish(false);
    // Between 80 and 100 % of the interval, so that nodes that began together do not stay together.
    const auto fifth = static_cast<uint64_t>(settings_.renew.count() / 5);
    schedule(announced_at_ + settings_.renew - Duration(static_cast<int64_t>(random_bits(random_) % (fifth + 1))));
}

void NodeAnnouncer::publish(bool leaving) {
    Announcement announcement = within_bounds(current_());
    sequence_ = next_sequence(sequence_, unix_ms_now());
    announcement.sequence = sequence_;
    const Duration validity = settings_.renew * kRenewalsPerValidity;
    announcement.valid_for_s = static_cast<uint32_t>(std::chrono::ceil<std::chrono::seconds>(validity).count());
    announcement.leaving = leaving;
    AnnouncementKeys::Nonce nonce;
    random_(nonce);
    const std::string sealed = keys_.seal(announcement, nonce);
    announced_at_ = EventLoop::now();
    redis_.command({"SET", keys_.key_of(announcement.id), sealed, "PX", std::to_string(validity.count())},
                   [this](const RedisReply& reply) { on_stored(reply); });
    // Also if Redis is full and refuses the entry: clients that listen learn the news all the same.
    redis_.command({"PUBLISH", keys_.channel(), sealed}, [this, leaving](const RedisReply& reply) {
        if (leaving) return finish_withdrawal();
        on_published(reply);
    });
}

void NodeAnnouncer::on_stored(const RedisReply& reply) {
    set_error_ = reply.is_error() ? "the announcement is not stored: " + redis_.text_of(reply) : "";
}

void NodeAnnouncer::on_published(const RedisReply& reply) {
    std::string error = set_error_;
    if (error.empty() && reply.is_error()) error = "the announcement is not published: " + redis_.text_of(reply);
    if (error.empty()) {
        ++announced_;
        refusals_.reset();
        if (!error_.empty()) log_info("discovery announces this node again");
    } else {
        ++refused_;
        if (error != error_) log_warn("discovery cannot announce this node", {{"error", error}});
        if (!leaving_) schedule(EventLoop::now() + refusals_.next(random_bits(random_)));
    }
    error_ = error;
}

void NodeAnnouncer::withdraw(Callback done, Duration limit) {
    QANAT_ASSERT(!leaving_);
    leaving_ = true;
    withdrawn_ = std::move(done);
    timer_.cancel();
    if (!ready_to_announce_) return finish_withdrawal();
    withdrawal_limit_.start(limit);
    publish(true);
}

void NodeAnnouncer::finish_withdrawal() {
    ready_to_announce_ = false;
    withdrawal_limit_.cancel();
    redis_.stop();
    if (withdrawn_) loop_.defer(std::exchange(withdrawn_, {}));
}

void NodeAnnouncer::report(Json::Value& out) const {
    report_connection(redis_, settings_.redis.address, out);
    if (redis_.ready()) out["last_error"] = error_;
    out["announced"] = Json::UInt64{announced_};
    out["refused"] = Json::UInt64{refused_};
}

}  // namespace qanat::controlplane
