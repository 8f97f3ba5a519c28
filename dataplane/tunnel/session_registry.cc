#include "dataplane/tunnel/session_registry.h"

#include <mutex>
#include <unordered_map>

namespace qanat::dataplane {

struct SessionRegistry::State {
    explicit State(size_t retired_capacity) : retired(retired_capacity) {}

    std::mutex mutex;
    std::unordered_map<uint64_t, std::weak_ptr<SharedSession>> live;
    RetiredIds retired;
};

SessionRegistry::SessionRegistry(size_t retired_capacity) : state_(std::make_shared<State>(retired_capacity)) {}

std::shared_ptr<SharedSession> SessionRegistry::acquire(const ring::InstallSession& install) {
    if (!SharedSession::valid(install)) return nullptr;
    // Declared before the lock: if this turns out to be the last reference, its deleter must find the mutex free.
    std::shared_ptr<SharedSession> session;
    const std::scoped_lock lock(state_->mutex);
    if (state_->retired.contains(install.session_id)) return nullptr;
    if (const auto found = state_->live.find(install.session_id); found != state_->live.end()) {
        // An expired one is about to be retired: its deleter waits for the lock.
        session = found->second.lock();
        return session != nullptr && session->matches(install) ? session : nullptr;
    }
    const auto retire = [state = state_](SharedSession* ended) {
        const uint64_t id = ended->id;
        delete ended;
        const std::scoped_lock retire_lock(state->mutex);
        state->live.erase(id);
        state->retired.insert(id);
    };
    session = std::shared_ptr<SharedSession>(new SharedSession(install), retire);
    state_->live.emplace(install.session_id, session);
    return session;
}

size_t SessionRegistry::size() const {
    const std::scoped_lock lock(state_->mutex);
    return state_->live.size();
}

}  // namespace qanat::dataplane
