#include "controlplane/sessions/session_table.h"

#include <algorithm>

#include "common/base/assert.h"

namespace qanat::controlplane {

std::optional<std::vector<uint64_t>> SessionTable::make_room(const PublicKey& client, Instant now) {
    std::vector<uint64_t> ended;
    if (const auto found = by_client_.find(client); found != by_client_.end()) {
        const std::vector<uint64_t> ids = found->second;
        const auto provisional =
            std::count_if(ids.begin(), ids.end(), [this](uint64_t id) { return !sessions_.at(id).confirmed; });
        if (static_cast<size_t>(provisional) >= kProvisionalPerKey) {
            ended.push_back(*oldest(ids, false));
        } else if (ids.size() >= kSessionsPerKey) {
            // A client that restarts often leaves sessions behind that nobody uses.
            const auto left_over =
                std::find_if(ids.begin(), ids.end(), [this](uint64_t id) { return !sessions_.at(id).control_open; });
            if (left_over == ids.end()) return std::nullopt;
            ended.push_back(*left_over);
        }
    }
    if (sessions_.size() - ended.size() >= sessions_max_) {
        const auto victim = dispensable(now);
        if (!victim) return std::nullopt;
        ended.push_back(*victim);
    }
    for (const uint64_t id : ended) remove(id);
    return ended;
}

void SessionTable::insert(uint64_t session_id, const PublicKey& client, Instant now, Duration lifetime,
                          const SessionOrigin& origin) {
    Session session;
    session.client = client;
    session.origin = origin;
    session.made = now;
    session.lifetime_end = now + lifetime;
    session.end = std::min(session.lifetime_end, now + Instant::duration(kProvisionalTime));
    QANAT_ASSERT(!sessions_.contains(session_id));
    by_end_.insert({session.end, session_id});
    by_client_[client].push_back(session_id);
    sessions_.emplace(session_id, session);
    ++provisional_;
}

bool SessionTable::confirm(uint64_t session_id) {
    const auto found = sessions_.find(session_id);
    if (found == sessions_.end()) return false;
    Session& session = found->second;
    if (session.confirmed) return true;
    session.confirmed = true;
    --provisional_;
    // The end of a closed control connection stays.
    if (session.control_open) set_end(session_id, session, session.lifetime_end);
    return true;
}

void SessionTable::control_closed(uint64_t session_id, Instant now) {
    const auto found = sessions_.find(session_id);
    if (found == sessions_.end()) return;
    Session& session = found->second;
    session.control_open = false;
    const Instant end = now + (session.confirmed ? kTimeAfterClose : kProvisionalTime);
    if (session.confirmed || end < session.end) set_end(session_id, session, std::min(end, session.lifetime_end));
}

std::vector<uint64_t> SessionTable::expire(Instant now) {
    std::vector<uint64_t> ended;
    while (!by_end_.empty() && by_end_.begin()->first <= now) {
        ended.push_back(by_end_.begin()->second);
        remove(ended.back());
    }
    return ended;
}

std::vector<uint64_t> SessionTable::clear() {
    std::vector<uint64_t> ended;
    for (const auto& [id, session] : sessions_) ended.push_back(id);
    sessions_.clear();
    by_end_.clear();
    by_client_.clear();
    provisional_ = 0;
    return ended;
}

bool SessionTable::is_here(const PublicKey& client) const {
    const auto found = by_client_.find(client);
    if (found == by_client_.end()) return false;
    return std::any_of(found->second.begin(), found->second.end(), [this](uint64_t id) {
        const Session& session = sessions_.at(id);
        return session.confirmed && session.control_open;
    });
}

std::vector<SessionTable::View> SessionTable::views() const {
    std::vector<View> views;
    views.reserve(sessions_.size());
    for (const auto& [client, ids] : by_client_)
        for (const uint64_t id : ids) views.push_back(sessions_.at(id));
    return views;
}

void SessionTable::set_end(uint64_t session_id, Session& session, Instant end) {
    by_end_.erase({session.end, session_id});
    session.end = end;
    by_end_.insert({end, session_id});
}

void SessionTable::remove(uint64_t session_id) {
    const auto found = sessions_.find(session_id);
    QANAT_ASSERT(found != sessions_.end());
    const Session& session = found->second;
    if (!session.confirmed) --provisional_;
    by_end_.erase({session.end, session_id});
    const auto client = by_client_.find(session.client);
    std::erase(client->second, session_id);
    if (client->second.empty()) by_client_.erase(client);
    sessions_.erase(found);
}

std::optional<uint64_t> SessionTable::oldest(const std::vector<uint64_t>& ids, bool confirmed) const {
    for (const uint64_t id : ids)
        if (sessions_.at(id).confirmed == confirmed) return id;
    return std::nullopt;
}

std::optional<uint64_t> SessionTable::dispensable(Instant now) const {
    // What would end soonest anyway, if nobody needs it: left over, or never confirmed and not fresh.
    for (const auto& [end, id] : by_end_) {
        const Session& session = sessions_.at(id);
        if (!session.control_open) return id;
        if (!session.confirmed && now - session.made >= kUntouchableTime) return id;
    }
    return std::nullopt;
}

}  // namespace qanat::controlplane
