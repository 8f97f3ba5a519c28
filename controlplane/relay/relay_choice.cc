#include "controlplane/relay/relay_choice.h"

#include <algorithm>
#include <utility>

#include "controlplane/routing/draw.h"

namespace qanat::controlplane {
namespace {

using std::chrono::microseconds;

constexpr microseconds kMuchNearer = std::chrono::milliseconds(10);

// By enough that it is neither noise nor hardly felt: a move costs clients the path that they know.
bool much_nearer(const std::optional<microseconds>& a, const std::optional<microseconds>& b) {
    return a && b && *a + std::max(kMuchNearer, *b / 4) <= *b;
}

}  // namespace

std::vector<RelayChoice::Relay> RelayChoice::update(Time now, const std::function<Health(const PublicKey&)>& health) {
    const auto unknown = [&](const auto& entry) { return !known_.contains(entry.first); };
    std::erase_if(active_, unknown);
    std::erase_if(benched_, unknown);
    for (auto& [id, relay] : active_) {
        const Health it = health(id);
        if (it.refused && relay.reserve) relay.refused_at = now;
        relay.usable = it.up && (!relay.refused_at || now - *relay.refused_at >= kRefusedTime);
        relay.latency = it.latency;
        if (relay.usable) relay.bad_since = now;
    }
    stay_in_touch(now, wanted_ == 0 ? 0 : wanted_ + kSpare);
    choose(now);

    std::vector<Relay> relays;
    for (const auto& [id, relay] : active_)
        relays.push_back({.id = id, .addrs = known_.at(id), .reserve = relay.reserve});
    return relays;
}

void RelayChoice::stay_in_touch(Time now, size_t count) {
    const auto take = [&](const PublicKey& id) {
        benched_.erase(id);
        active_[id] = {.bad_since = now};
    };
    std::vector<PublicKey> bad;
    for (const auto& [id, relay] : active_)
        if (now - relay.bad_since >= kDownTime) bad.push_back(id);
    for (const PublicKey& id : bad) {
        const PublicKey* other = next();
        if (other == nullptr) break;
        active_.erase(id);
        take(*other);
        benched_[id] = now;
    }
    while (active_.size() < count) {
        const PublicKey* other = next();
        if (other == nullptr) break;
        take(*other);
    }
    while (active_.size() > count) {
        // Those that are fit least; a reservation only when nothing else is left.
        const auto least = std::max_element(active_.begin(), active_.end(), [](const auto& a, const auto& b) {
            return std::pair(!a.second.reserve, a.second.rank()) < std::pair(!b.second.reserve, b.second.rank());
        });
        active_.erase(least);
    }
}

const PublicKey* RelayChoice::next() const {
    const PublicKey* found = nullptr;
    std::pair<Time, uint64_t> least;
    for (const auto& [id, addrs] : known_) {
        if (active_.contains(id)) continue;
        const auto benched = benched_.find(id);
        const std::pair order{benched == benched_.end() ? Time::min() : benched->second, draw(id, seed_)};
        if (found != nullptr && least <= order) continue;
        found = &id;
        least = order;
    }
    return found;
}

void RelayChoice::choose(Time now) {
    auto reserved = static_cast<size_t>(
        std::count_if(active_.begin(), active_.end(), [](const auto& entry) { return entry.second.reserve; }));
    for (; reserved > wanted_; --reserved) worst_reserved()->reserve = false;
    for (; reserved < wanted_; ++reserved) {
        Active* spare = best_spare();
        if (spare == nullptr) return;
        spare->reserve = true;
    }
    for (;;) {
        Active* worst = worst_reserved();
        Active* spare = best_spare();
        if (worst == nullptr || spare == nullptr || !spare->usable) return;
        if (worst->usable) {
            const bool may_move = !moved_at_ || now - *moved_at_ >= kMoveInterval;
            if (!may_move || !much_nearer(spare->latency, worst->latency)) return;
            moved_at_ = now;
        }
        std::swap(worst->reserve, spare->reserve);
    }
}

RelayChoice::Active* RelayChoice::worst_reserved() {
    Active* worst = nullptr;
    for (auto& [id, relay] : active_)
        if (relay.reserve && (worst == nullptr || worst->rank() < relay.rank())) worst = &relay;
    return worst;
}

RelayChoice::Active* RelayChoice::best_spare() {
    Active* best = nullptr;
    for (auto& [id, relay] : active_)
        if (!relay.reserve && (best == nullptr || relay.rank() < best->rank())) best = &relay;
    return best;
}

}  // namespace qanat::controlplane
