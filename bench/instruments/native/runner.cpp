// The `native` instrument: measures ExecuTorch programs by the protocol of bench/protocol/, without torch or Python.
//
//     runner JOB FOLDER
//     runner --version
//
// A broken job or model gives an error result, not a crash.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>

#include "json.h"
#include "sha256.h"

#ifndef EXECUTORCH_VERSION
#error "compile with -DEXECUTORCH_VERSION='\"x.y.z\"', the version of the libraries that are linked"
#endif

// The wheel carries the library and not its header; these two are what it exports.
namespace executorch::extension::threadpool {
class ThreadPool {
   public:
    size_t get_thread_count() const;
    bool _unsafe_reset_threadpool(uint32_t num_threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::runtime::Error;

namespace {

// The host looks for this text in the file, to know before a push what the runner can load.
constexpr const char* kAbout = "pocket-distill runner for executorch " EXECUTORCH_VERSION;
constexpr int kSchemaVersion = 4;
constexpr double kNsPerMs = 1e6;
constexpr double kNsPerS = 1e9;
#if defined(__aarch64__)
constexpr const char* kAbi = "arm64-v8a";
#else
constexpr const char* kAbi = "x86_64";
#endif

int64_t clock_ns(clockid_t id) {
    timespec now;
    clock_gettime(id, &now);
    return int64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}
int64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }
int64_t since_boot_ns() { return clock_ns(CLOCK_BOOTTIME); }

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path);
    std::stringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
}

std::string error_name(Error error) {
    char text[16];
    snprintf(text, sizeof text, "0x%02x", static_cast<unsigned>(error));
    return std::string("ExecuTorch error ") + text;
}

/// One of the different outputs of calls with one input; the difference is to the first, NaN where that is no number.
struct SeenOutput {
    std::string sha256;
    int64_t calls;
    double max_abs_difference;
};

constexpr size_t kMostOutputs = 100;

/// What was seen of one model; `error` stays empty if there is a measurement.
struct Seen {
    std::string id, sha256, error;
    int threads = 0;
    double load_ms = -1, first_ms = -1, warmup_s = 0;
    int64_t warmup_count = 0;
    std::vector<int64_t> samples_ns;
    std::vector<float> output;
    std::vector<std::pair<int64_t, size_t>> readings;
    std::vector<SeenOutput> outputs;
};

/// First call, warm-up, samples; the clock is read right around each call.
void time_calls(const std::function<void()>& call, const json::Value& limits, Seen& seen) {
    int64_t began = now_ns();
    call();
    seen.first_ms = double(now_ns() - began) / kNsPerMs;
    int64_t warmup_ns = 0;
    began = now_ns();
    while (double(warmup_ns) < limits["warmup_cap_s"].number * kNsPerS) {
        if (seen.warmup_count >= limits["warmup_count"].number && warmup_ns >= limits["warmup_s"].number * kNsPerS) break;
        call();
        ++seen.warmup_count;
        warmup_ns = now_ns() - began;
    }
    seen.warmup_s = double(warmup_ns) / kNsPerS;
    const size_t max_count = size_t(limits["max_count"].number), min_count = size_t(limits["min_count"].number);
    const double floor_ns = limits["min_s"].number * kNsPerS, cap_ns = limits["max_s"].number * kNsPerS;
    std::vector<int64_t> samples(max_count);
    size_t count = 0;
    began = now_ns();
    while (count < max_count) {
        const int64_t start = now_ns();
        call();
        const int64_t end = now_ns();
        samples[count++] = end - start;
        if (double(end - began) >= (count >= min_count ? floor_ns : cap_ns)) break;
    }
    samples.resize(count);
    seen.samples_ns = std::move(samples);
}

/// Count an output among the different ones; the first is the golden one. Beyond the most, each counts as the last.
void note_output(const std::vector<float>& output, Seen& seen) {
    if (seen.outputs.empty()) seen.output = output;
    const std::string hash = sha256({reinterpret_cast<const char*>(output.data()), output.size() * sizeof(float)});
    for (auto& known : seen.outputs)
        if (known.sha256 == hash) {
            ++known.calls;
            return;
        }
    if (seen.outputs.size() == kMostOutputs) {
        ++seen.outputs.back().calls;
        return;
    }
    double difference = 0;
    for (size_t i = 0; i < output.size(); ++i) {
        const double apart = std::fabs(double(output[i]) - double(seen.output[i]));
        difference = std::isfinite(apart) ? std::fmax(difference, apart) : NAN;
        if (!std::isfinite(difference)) break;
    }
    seen.outputs.push_back({hash, 1, difference});
}

void measure(const json::Value& job, const json::Value& model, const std::string& folder, Seen& seen,
             const std::function<void(const char*)>& progress) {
    if (job["task"].text != "time") throw std::runtime_error("this instrument reads no pictures; use the app");
    if (model["accelerator"].kind != json::Value::Null) throw std::runtime_error("this instrument runs models on the processor only");
    if (model["format"].text != "executorch") throw std::runtime_error("this instrument runs executorch only");
    const std::string path = folder + "/" + model["file"].text;
    seen.sha256 = sha256(read_file(path));
    if (seen.sha256 != model["sha256"].text) throw std::runtime_error(path + " has another SHA-256 than the job says");
    std::string input = read_file(folder + "/" + model["input_file"].text);
    if (sha256(input) != model["input_sha256"].text) throw std::runtime_error("the input has another SHA-256");
    std::vector<executorch::aten::SizesType> shape;
    size_t expected_bytes = sizeof(float);
    for (const auto& size : model["input_shape"].items) {
        shape.push_back(static_cast<executorch::aten::SizesType>(size.number));
        expected_bytes *= size_t(size.number);
    }
    if (input.size() != expected_bytes) throw std::runtime_error("the input has another size than its shape says");
    // XNNPACK takes the pool when the program is loaded.
    auto* pool = executorch::extension::threadpool::get_threadpool();
    pool->_unsafe_reset_threadpool(uint32_t(job["threads"].number));
    seen.threads = int(pool->get_thread_count());
    const int64_t began = now_ns();
    Module module(path, Module::LoadMode::Mmap);
    if (const Error error = module.load_method("forward"); error != Error::Ok) throw std::runtime_error(error_name(error));
    seen.load_ms = double(now_ns() - began) / kNsPerMs;
    const auto tensor = from_blob(input.data(), shape);
    const auto call = [&] {
        if (const auto result = module.forward(tensor); !result.ok()) throw std::runtime_error(error_name(result.error()));
    };
    progress("measuring");
    seen.readings.emplace_back(since_boot_ns(), 0);
    time_calls(call, job["limits"], seen);
    seen.readings.emplace_back(since_boot_ns(), seen.samples_ns.size());
    progress("checking");
    for (int64_t call_number = 0; call_number < int64_t(job["repeats"].number); ++call_number) {
        const auto result = module.forward(tensor);
        if (!result.ok()) throw std::runtime_error(error_name(result.error()));
        const auto output = result->at(0).toTensor();
        note_output({output.const_data_ptr<float>(), output.const_data_ptr<float>() + output.numel()}, seen);
    }
}

std::string or_null(const std::string& text) { return text.empty() ? "null" : json::quoted(text); }

template <typename Number>
std::string or_null(Number number) {
    if (number < 0) return "null";
    std::ostringstream text;
    text.precision(12);
    text << number;
    return text.str();
}

std::string finite_or_null(double number) { return std::isfinite(number) ? or_null(number) : "null"; }

long peak_memory_bytes() {
    std::ifstream status("/proc/self/status");
    std::string line;
    while (std::getline(status, line))
        if (line.rfind("VmHWM:", 0) == 0) return atol(line.c_str() + 6) * 1024;
    return -1;
}

std::string as_json(const Seen& seen) {
    const bool good = seen.error.empty();
    std::ostringstream out;
    out << "{\"id\":" << json::quoted(seen.id) << ",\"sha256\":" << or_null(seen.sha256)
        << ",\"error\":" << or_null(seen.error) << ",\"runtime\":\"executorch\",\"runtime_version\":\"" EXECUTORCH_VERSION
        << "\",\"threads_active\":" << (seen.threads ? std::to_string(seen.threads) : "null")
        << ",\"accelerator_active\":" << (good ? "\"xnnpack\"" : "null") << ",\"load_ms\":" << or_null(seen.load_ms)
        << ",\"first_inference_ms\":" << or_null(seen.first_ms) << ",\"warmup_count\":" << seen.warmup_count
        << ",\"warmup_s\":" << or_null(seen.warmup_s) << ",\"samples_ns\":[";
    for (size_t i = 0; good && i < seen.samples_ns.size(); ++i) out << (i ? "," : "") << seen.samples_ns[i];
    out << "],\"sample_count\":" << (good ? seen.samples_ns.size() : 0) << ",\"golden_output\":[";
    for (size_t i = 0; good && i < seen.output.size(); ++i) {
        char number[32];
        snprintf(number, sizeof number, "%.9g", double(seen.output[i]));
        out << (i ? "," : "") << (std::isfinite(seen.output[i]) ? number : "null");
    }
    out << "],\"peak_memory_bytes\":" << or_null(peak_memory_bytes()) << ",\"readings\":[";
    for (size_t i = 0; i < seen.readings.size(); ++i)
        out << (i ? "," : "") << "{\"at_ns\":" << seen.readings[i].first << ",\"sample_index\":" << seen.readings[i].second
            << ",\"thermal_status\":null,\"thermal_headroom\":null,\"core\":null,\"core_khz\":null}";
    out << "],\"outputs\":[";
    for (size_t i = 0; good && i < seen.outputs.size(); ++i)
        out << (i ? "," : "") << "{\"sha256\":\"" << seen.outputs[i].sha256 << "\",\"calls\":" << seen.outputs[i].calls
            << ",\"max_abs_difference\":" << finite_or_null(seen.outputs[i].max_abs_difference) << "}";
    out << "],\"stages\":null,\"answered\":0,\"unreadable\":[],\"logits_sha256\":null}";
    return out.str();
}

void write_whole(const std::string& path, const std::string& text) {
    const std::string unfinished = path + ".tmp";
    const int file = open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || write(file, text.data(), text.size()) != ssize_t(text.size()) || fsync(file) != 0) {
        perror(unfinished.c_str());
        exit(1);
    }
    close(file);
    rename(unfinished.c_str(), path.c_str());
}

std::string parent_folder(const std::string& path) { return path.substr(0, path.find_last_of('/')); }

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::string(argv[1]) == "--version") {
        puts(kAbout);
        return 0;
    }
    if (argc != 3) {
        fprintf(stderr, "usage: runner JOB FOLDER\n");
        return 2;
    }
    const int64_t began_ns = since_boot_ns();
    const std::string job_path = argv[1], folder = parent_folder(job_path);
    const std::string run_id = folder.substr(folder.find_last_of('/') + 1);
    const std::string stem = std::string(argv[2]) + "/" + run_id;
    const auto progress = [&](const char* stage, const std::string& model) {
        std::ofstream(stem + ".progress.jsonl", std::ios::app)
            << "{\"schema_version\":4,\"run_id\":\"" << run_id << "\",\"stage\":\"" << stage
            << "\",\"model_id\":" << or_null(model) << ",\"pid\":" << getpid() << ",\"at_ns\":" << since_boot_ns()
            << ",\"done\":null,\"total\":null}\n";
    };
    std::string error, job_sha256, models, boot_id;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
    try {
        const std::string text = read_file(job_path);
        job_sha256 = sha256(text);
        const json::Value job = json::Parser(text).document();
        if (job["schema_version"].number != kSchemaVersion) throw std::runtime_error("the job has another schema version");
        for (const auto& model : job["models"].items) {
            Seen seen;
            seen.id = model["id"].text;
            progress("loading", seen.id);
            try {
                measure(job, model, folder, seen, [&](const char* stage) { progress(stage, seen.id); });
            } catch (const std::exception& failure) {
                seen.error = failure.what();
            }
            models += (models.empty() ? "" : ",") + as_json(seen);
        }
    } catch (const std::exception& failure) {
        error = failure.what();
    }
    std::ostringstream result;
    result << "{\"schema_version\":4,\"run_id\":\"" << run_id << "\",\"instrument\":\"native\",\"instrument_version\":\"0.1.0\""
           << ",\"error\":" << or_null(error) << ",\"job_sha256\":" << or_null(job_sha256) << ",\"boot_id\":" << or_null(boot_id)
           << ",\"abi\":\"" << kAbi << "\",\"began_ns\":" << began_ns << ",\"ended_ns\":" << since_boot_ns() << ",\"models\":["
           << models << "]}\n";
    write_whole(stem + ".result.json", result.str());
    progress(error.empty() ? "done" : "failed", "");
    return 0;
}
