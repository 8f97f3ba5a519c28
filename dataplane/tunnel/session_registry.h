// SessionRegistry: makes one SharedSession out of the InstallSession commands that every engine of the process gets.
// One per process. Takes a mutex and allocates: for the command path, never for a stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "common/ring/messages.h"
#include "dataplane/tunnel/retired_ids.h"
#include "dataplane/tunnel/shared_session.h"

namespace qanat::dataplane {

class SessionRegistry {
public:
    explicit SessionRegistry(size_t retired_capacity = RetiredIds::kCapacity);

    // The session of this command: the first engine creates it, the others get the same object. It ends (and its
    // secrets are wiped) when the last engine lets go of it; the registry may be gone by then.
    //
    // Null, and nothing has changed, if the id was in use in this process before and has ended (its replay window is
    // lost, see RetiredIds), if the command contradicts the session that has this id, or if it is not valid (id 0,
    // unknown side or suite, a window that is no multiple of 64 or out of range). Any thread.
    [[nodiscard]] std::shared_ptr<SharedSession> acquire(const ring::InstallSession& install);

    // Sessions that live. Any thread.
    [[nodiscard]] size_t size() const;

private:
    struct State;
    std::shared_ptr<State> state_;  // shared with the sessions' deleters
};

}  // namespace qanat::dataplane
