// PipePool: the engine's pipes, through which splice(2) moves bytes from socket to socket without copying them. A lane
// leases one only for bytes that are between its two sockets and gives it back empty; a lane that waits for its source
// holds none, so a few pipes serve many lanes.
//
// All pipes are made by the constructor, on the thread that will use them: a confined engine cannot make any, and an
// engine's descriptors are its own. An empty pipe takes no page of memory, but the kernel counts its size towards
// fs.pipe-user-pages-soft (64 MiB for all processes of a user, unless privileged) and grants less beyond that. Whatever
// it grants is used; no pipes at all are a valid pool. Not thread-safe: one per engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"

namespace qanat::dataplane {

using PipeIndex = uint32_t;
inline constexpr PipeIndex kNoPipe = UINT32_MAX;

class PipePool {
public:
    // Pipes smaller than this are not kept: they would need more calls than they save copying. It is what the kernel
    // gives without being asked.
    static constexpr uint32_t kPipeBytesMin = 64 * 1024;
    static constexpr uint32_t kDescriptorsPerPipe = 2;

    // Makes up to `pipes` pipes of `bytes_each` (rounded up to a power of two by the kernel, at most
    // fs.pipe-max-size), and stops at the first that the kernel does not grant.
    PipePool(uint32_t pipes, uint32_t bytes_each);

    [[nodiscard]] uint32_t capacity() const { return static_cast<uint32_t>(pipes_.size()); }
    [[nodiscard]] uint32_t available() const { return static_cast<uint32_t>(free_.size()); }
    // What was wished for and what the kernel granted, for the start log: "64 pipes of 256 KiB", "none of 64 pipes: …".
    [[nodiscard]] const std::string& describe() const { return description_; }

    // An empty pipe, or kNoPipe. The one that came back last is given out first.
    [[nodiscard]] PipeIndex acquire();
    // The pipe must be empty: the caller has taken out all that it put in.
    void release(PipeIndex pipe);
    // Takes back a pipe with anything in it, and throws that away.
    void discard(PipeIndex pipe);

    // The ends, both non-blocking.
    [[nodiscard]] int read_end(PipeIndex pipe) const { return pipes_[pipe].read_end.get(); }
    [[nodiscard]] int write_end(PipeIndex pipe) const { return pipes_[pipe].write_end.get(); }
    // As the kernel granted it: the most that one splice puts into the empty pipe. It can be full with much less, since
    // every page's worth of size is a slot, and every fragment that a network card received takes a slot.
    [[nodiscard]] uint32_t size(PipeIndex pipe) const { return pipes_[pipe].size; }

private:
    struct Pipe {
        UniqueFd read_end;
        UniqueFd write_end;
        uint32_t size = 0;
    };

    // 0 or the errno value of what was refused. A pipe that is smaller than wished for is kept.
    int add(uint32_t bytes);
    void describe(uint32_t pipes_wished, uint32_t bytes_wished, int error);

    std::vector<Pipe> pipes_;
    std::vector<PipeIndex> free_;
    std::string description_;
};

}  // namespace qanat::dataplane
