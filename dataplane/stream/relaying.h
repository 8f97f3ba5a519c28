// Relaying: the life of a stream between its opening and its end. Runs the two lanes when their sockets are ready,
// lets other streams in after a few bursts, and turns what ends a lane into what ends the stream.
#pragma once

#include "dataplane/stream/stream_table.h"

namespace qanat::dataplane {

class Relaying {
public:
    Relaying(EngineServices& services, StreamTable& table) : services_(services), table_(table) {}

    // Both sockets are connected and both lane keys are set; the opening is given back. `early_plain` are bytes of the
    // application, `early_records` bytes of the tunnel that were read before. May finish the stream.
    void start(Stream& stream, Bytes early_plain, Bytes early_records);

    // What `lane` polled for has come. `result` = poll events, or -errno.
    void on_ready(Stream& stream, uint8_t lane, int32_t result);
    // Something happened to the source of `lane`, which that lane does not read now: it has ended, or waits for its
    // sink.
    void on_watch(Stream& stream, uint8_t lane, int32_t result);
    // The stream has lasted a while, or a lane has not read for a while.
    void on_timer(Stream& stream);

    // Lanes that yielded, and lanes that waited for memory which is there now. True if there is more to do at once.
    bool run_ready();

private:
    void run(Stream& stream, uint8_t lane) { lane == kSealLane ? run_seal(stream) : run_open(stream); }
    void run_seal(Stream& stream);
    void run_open(Stream& stream);
    void settle(Stream& stream, uint8_t lane, Move move);
    void end(Stream& stream, Move move, uint8_t lane);

    EngineServices& services_;
    StreamTable& table_;
};

}  // namespace qanat::dataplane
