#include "controlplane/discovery/watcher.h"

#include <json/value.h>

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "controlplane/discovery/report.h"
#include "controlplane/discovery/wall_clock.h"

namespace qanat::controlplane {
namespace {

constexpr std::string_view kScanCount = "512";
constexpr size_t kCursorSizeMax = 20;  // a u64 in decimal

bool is_cursor(const RedisReply& reply) {
    return reply.kind == RedisReply::Kind::text && !reply.text.empty() && reply.text.size() <= kCursorSizeMax &&
           std::all_of(reply.text.begin(), reply.text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

// One reading of all entries: SCAN, page by page, and the values of each page in batches.
struct NodeWatcher::Load {
    std::string cursor = "0";
    std::vector<std::string> keys;  // of this page, not yet asked for
    size_t answers_due = 0;
    size_t keys_seen = 0;
    Instant started = EventLoop::now();
};

NodeWatcher::NodeWatcher(EventLoop& loop, DiscoverySettings settings, AnnouncementKeys keys, Callback on_change,
                         HostLookup lookup, RandomBytes random)
    : keys_(std::move(keys)),
      reload_(settings.reload),
      on_change_(std::move(on_change)),
      random_(std::move(random)),
      address_(settings.redis.address),
      events_(loop, "events", settings.redis, lookup, random_,
              {.on_ready = [this] { on_events_ready(); },
               .on_lost = [this] { listening_ = false; },
               .on_message = [this](const std::string& payload) { take(payload, std::nullopt); }}),
      commands_(loop, "entries", settings.redis, lookup, random_,
                {.on_ready = [this] { begin_load(); }, .on_lost = [this] { on_commands_lost(); }}),
      load_retries_(settings.redis.retry_min, settings.reload),
      load_timer_(loop, [this] { begin_load(); }),
      change_timer_(loop,
                    [this] {
                        change_pending_ = false;
                        told_ = EventLoop::now();
                        if (on_change_) on_change_();
                    }),
      second_(loop, [this] { on_second(); }) {}

NodeWatcher::~NodeWatcher() = default;

void NodeWatcher::start() {
    second_.start_every(std::chrono::seconds(1));
    events_.start();
    commands_.start();
}

void NodeWatcher::on_events_ready() {
    events_.subscribe(keys_.channel(), [this](const RedisReply& reply) {
        if (reply.is_error()) {
            listen_error_ = "Redis refuses to tell of changes: " + events_.text_of(reply);
            return events_.drop(listen_error_);
        }
        listening_ = true;
        listen_error_.clear();
        // What was published before is in the entries now.
        if (commands_.ready()) begin_load();
    });
}

void NodeWatcher::begin_load() {
    if (!commands_.ready()) return;
    if (load_) {
        load_again_ = true;
        return;
    }
    load_timer_.cancel();
    load_again_ = false;
    load_ = std::make_unique<Load>();
    scan();
}

void NodeWatcher::scan() {
    commands_.command({"SCAN", load_->cursor, "MATCH", keys_.key_pattern(), "COUNT", std::string(kScanCount)},
                      [this](const RedisReply& reply) { on_page(reply); });
}

void NodeWatcher::on_page(const RedisReply& reply) {
    if (reply.is_error()) return load_failed("Redis refuses to list the entries: " + commands_.text_of(reply));
    const bool page = reply.kind == RedisReply::Kind::array && reply.elements.size() == 2 &&
                      is_cursor(reply.elements[0]) && reply.elements[1].kind == RedisReply::Kind::array;
    if (!page) return commands_.drop("not the protocol of Redis");
    load_->cursor = reply.elements[0].text;
    for (const RedisReply& key : reply.elements[1].elements) {
        if (key.kind == RedisReply::Kind::text && keys_.is_key(key.text))
            load_->keys.push_back(key.text);
        else
            directory_.ignore(IgnoredReason::malformed);
    }
    load_->keys_seen += reply.elements[1].elements.size();
    if (load_->keys_seen > kKeysPerLoadMax || EventLoop::now() - load_->started > kLoadTimeMax)
        return load_failed("too many entries to read them all: give Qanat a Redis or a database of its own");
    fetch();
}

void NodeWatcher::fetch() {
    std::vector<std::string>& keys = load_->keys;
    if (keys.empty()) return load_->cursor == "0" ? load_done() : scan();
    load_->answers_due = std::min(keys.size(), kBatchMax);
    for (size_t i = load_->answers_due; i > 0; --i) {
        const std::string key = std::move(keys.back());
        keys.pop_back();
        // Not MGET: a value of half a gigabyte, which anybody with access can put there, must not come here whole.
        commands_.command({"GETRANGE", key, "0", std::to_string(AnnouncementKeys::kSealedSizeMax)},
                          [this, key](const RedisReply& reply) { on_value(key, reply); });
    }
}

void NodeWatcher::on_value(const std::string& key, const RedisReply& reply) {
    // Empty: it has expired since. An error: not a text, so none of ours.
    if (reply.kind != RedisReply::Kind::text)
        directory_.ignore(IgnoredReason::malformed);
    else if (!reply.text.empty())
        take(reply.text, key);
    if (--load_->answers_due == 0) fetch();
}

void NodeWatcher::load_failed(std::string error) {
    if (error != load_error_) log_warn("discovery cannot read the entries", {{"error", error}});
    load_error_ = std::move(error);
    load_.reset();
    directory_.lost();
    load_timer_.start(load_retries_.next(random_bits(random_)));
}

void NodeWatcher::load_done() {
    const Instant now = EventLoop::now();
    log_debug("discovery has read all entries",
              {{"entries", load_->keys_seen},
               {"nodes", directory_.size()},
               {"ms", std::chrono::duration_cast<Duration>(now - load_->started).count()}});
    load_.reset();
    load_error_.clear();
    load_retries_.reset();
    ++loads_;
    loaded_at_ = now;
    directory_.reached(now);
    if (loads_ == 1) changed();  // also "nobody": who knew nodes from elsewhere forgets them now
    if (std::exchange(load_again_, false)) return begin_load();
    // Between 75 and 125 % of the interval.
    const int64_t half = reload_.count() / 2;
    const auto jitter = static_cast<int64_t>(random_bits(random_) % static_cast<uint64_t>(half + 1));
    load_timer_.start(reload_ - Duration(half / 2) + Duration(jitter));
}

void NodeWatcher::on_commands_lost() {
    load_.reset();
    load_again_ = false;
    load_timer_.cancel();
    directory_.lost();
}

void NodeWatcher::take(std::string_view value, std::optional<std::string_view> key) {
    auto announcement = keys_.open(value, key);
    if (!announcement) return directory_.ignore(reason_of(announcement.error()));
    if (directory_.take(std::move(*announcement), unix_ms_now(), EventLoop::now())) changed();
}

void NodeWatcher::changed() {
    if (std::exchange(change_pending_, true)) return;
    change_timer_.start_at(std::max(EventLoop::now() + kChangeDelay, told_ + kChangeInterval));
}

void NodeWatcher::on_second() {
    if (directory_.expire(unix_ms_now(), EventLoop::now())) changed();
}

void NodeWatcher::report(Json::Value& out) const {
    report_connection(commands_, address_, out);
    if (commands_.ready()) out["last_error"] = !load_error_.empty() ? load_error_ : listen_error_;
    out["listening"] = listening_;
    out["known"] = Json::UInt64{directory_.size()};
    out["loads"] = Json::UInt64{loads_};
    if (loaded_at_)
        out["loaded_seconds_ago"] =
            Json::Int64{std::chrono::duration_cast<std::chrono::seconds>(EventLoop::now() - *loaded_at_).count()};
    Json::Value& ignored = out["ignored"] = Json::Value(Json::objectValue);
    for (size_t i = 0; i < kIgnoredReasons; ++i) {
        const auto reason = static_cast<IgnoredReason>(i);
        ignored[std::string(name_of(reason))] = Json::UInt64{directory_.ignored(reason)};
    }
}

}  // namespace qanat::controlplane
