// HandshakePair: a client and a node that make sessions with each other, step by step, all randomness fixed.
#pragma once

#include <memory>

namespace qanat::perf {

class HandshakePair {
public:
    HandshakePair();
    ~HandshakePair();

    void client_starts();          // MSG1
    void node_answers();           // gate, Noise, MSG2
    void client_finishes();        // the session's secrets
    void node_refuses_stranger();  // the MSG1 of client_starts() with a wrong gate tag

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace qanat::perf
