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

    void on_seal_ready(Stream& stream) { run_seal(stream); }
    void on_open_ready(Stream& stream) { run_open(stream); }
    // An error or a hang-up on a side that is only written to, or not used any more.
    void on_watch(Stream& stream, int32_t result);
    // The stream has lasted a while, or one lane has been ended for a while.
    void on_timer(Stream& stream);

    // Lanes that yielded, and lanes that waited for memory which is there now. True if there is more to do at once.
    bool run_ready();

private:
    void run_seal(Stream& stream);
    void run_open(Stream& stream);
    void settle(Stream& stream, uint8_t lane, Move move);
    void end(Stream& stream, Move move, uint8_t lane);

    EngineServices& services_;
    StreamTable& table_;
};

}  // namespace qanat::dataplane
