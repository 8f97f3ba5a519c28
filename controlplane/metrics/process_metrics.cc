#include "controlplane/metrics/process_metrics.h"

namespace qanat::controlplane {

void add_process_metrics(MetricsPage& page, const ProcessSample& sample) {
    using Kind = MetricsPage::Kind;
    page.family("build_info", Kind::gauge, "Always 1; the labels say what runs.");
    page.sample(uint64_t{1}, {{"version", sample.version}, {"role", sample.role}});
    page.family("uptime_seconds", Kind::gauge, "Since the control plane started.");
    page.sample(sample.uptime_seconds);
    page.family("ready", Kind::gauge, "1 when every engine listens on every address.");
    page.sample(uint64_t{sample.ready});
    page.family("draining", Kind::gauge, "1 when the program is about to end.");
    page.sample(uint64_t{sample.draining});
    page.family("data_plane_restarts_total", Kind::counter, "Data planes that ended and were replaced.");
    page.sample(sample.data_plane_restarts);
    page.family("memory_budget_bytes", Kind::gauge, "What the data plane may use at most.");
    page.sample(sample.memory_budget_bytes);
    page.family("open_descriptors", Kind::gauge, "Open file descriptors, by process.");
    if (sample.control_plane_descriptors)
        page.sample(*sample.control_plane_descriptors, {{"process", "control_plane"}});
    if (sample.data_plane_descriptors) page.sample(*sample.data_plane_descriptors, {{"process", "data_plane"}});
    page.family("open_descriptors_max", Kind::gauge, "Open file descriptors that each process may have.");
    page.sample(sample.descriptors_max);
}

}  // namespace qanat::controlplane
