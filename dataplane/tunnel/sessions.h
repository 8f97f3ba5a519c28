// Sessions as the data plane has them: SharedSession (one per session and process), SessionRegistry (one per process)
// and SessionTable (one per engine).
#pragma once

#include "dataplane/tunnel/session_registry.h"
#include "dataplane/tunnel/session_table.h"
#include "dataplane/tunnel/shared_session.h"
