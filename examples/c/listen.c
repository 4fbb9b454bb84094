/* The live loop in C: `listen MODEL.onnx VOICE.onnx CLIP.wav`, or `-` for 16-bit mono PCM on stdin.
 *
 * It prints the steps that `edgeemo listen --json` prints, and no utterances. Audio must have the model's rate. The rules
 * are in docs/format.md; the voice detector is edgeemo/silero/voice.onnx.
 */
#define _POSIX_C_SOURCE 199309L
#include <math.h>
#include <onnxruntime_c_api.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RECENT_CHUNKS = 8, LEAST_VOICED = 6, HANG_CHUNKS = 20, MARGIN_CHUNKS = 4 };
enum { MOST_STATES = 64, MOST_LABELS = 64, MOST_SKIPPED = 256 };
static const float VOICED = 0.5f;
static const double ONSET_S = 0.256, MAX_UTTERANCE_S = 30, CUTOFF_HZ = 10;

static const OrtApi *ort;
static OrtEnv *env;
static OrtAllocator *allocator;
static OrtMemoryInfo *memory;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("listen: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static void check(OrtStatus *status) {
    if (status) fail("%s", ort->GetErrorMessage(status));
}

/* --- JSON, as far as the metadata need it: pointers into the text ------------------------------------------------ */

static const char *space(const char *at) {
    return at + strspn(at, " \t\r\n,:");
}

static const char *after(const char *value) { /* what follows a value */
    if (*value == '"') {
        for (value++; *value && *value != '"'; value++)
            if (*value == '\\' && value[1]) value++;
        return *value ? value + 1 : value;
    }
    if (*value != '{' && *value != '[') return value + strcspn(value, ",]} \n");
    char end = *value == '{' ? '}' : ']';
    for (value = space(value + 1); *value && *value != end; value = space(after(value))) continue;
    return *value ? value + 1 : value;
}

static const char *member(const char *object, const char *key) { /* the value of a key, or NULL */
    if (!object || *object != '{') return NULL;
    for (const char *at = space(object + 1); *at && *at != '}';) {
        const char *value = space(after(at));
        if (strlen(key) == (size_t)(after(at) - at - 2) && !strncmp(at + 1, key, strlen(key))) return value;
        at = space(after(value));
    }
    return NULL;
}

static double number(const char *object, const char *key, double otherwise) {
    const char *value = member(object, key);
    return value ? strtod(value, NULL) : otherwise;
}

static char *text(const char *value) { /* a copy of a string, its escapes as they are, which is how it is printed */
    size_t length = (size_t)(after(value) - value) - 2;
    char *copy = calloc(length + 1, 1);
    return memcpy(copy, value + 1, length);
}

/* --- a graph that carries states ---------------------------------------------------------------------------------- */

typedef struct {
    OrtSession *session;
    const char *metadata;
    size_t n_states;
    const char *inputs[MOST_STATES + 1], *outputs[MOST_STATES + 1];
    bool lasting[MOST_STATES];
    OrtValue *states[MOST_STATES], *start[MOST_STATES];
} Graph;

static Graph load(const char *path, const char *output) {
    Graph graph = {.inputs = {"audio"}, .outputs = {output}};
    OrtSessionOptions *options;
    check(ort->CreateSessionOptions(&options));
    check(ort->SetIntraOpNumThreads(options, 1));
    check(ort->CreateSession(env, path, options, &graph.session));
    ort->ReleaseSessionOptions(options);
    OrtModelMetadata *metadata;
    char *value = NULL;
    check(ort->SessionGetModelMetadata(graph.session, &metadata));
    check(ort->ModelMetadataLookupCustomMetadataMap(metadata, allocator, "edgeemo", &value));
    if (!value) fail("%s: no edgeemo metadata", path);
    if (number(value, "format", 0) != 1) fail("%s: of another format; expected 1", path);
    graph.metadata = value;
    const char *states = member(value, "states");
    for (const char *at = states ? space(states + 1) : "]"; *at == '{'; at = space(after(at))) {
        size_t n = graph.n_states++, n_dims = 0, size = 1;
        if (graph.n_states > MOST_STATES) fail("%s: more than %d states", path, MOST_STATES);
        int64_t shape[8];
        for (const char *d = space(member(at, "shape") + 1); *d != ']' && n_dims < 8; d = space(after(d)))
            size *= (size_t)(shape[n_dims++] = strtoll(d, NULL, 10));
        char *name = text(member(at, "name")), *next = malloc(strlen(name) + sizeof "_next");
        sprintf(next, "%s_next", name);
        const char *lasting = member(at, "lasting");
        graph.lasting[n] = lasting && *lasting == 't';
        graph.inputs[n + 1] = name;
        graph.outputs[n + 1] = next;
        check(ort->CreateTensorAsOrtValue(allocator, shape, n_dims, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &graph.start[n]));
        void *zeros;
        check(ort->GetTensorMutableData(graph.start[n], &zeros));
        memset(zeros, 0, size * sizeof(float));
        graph.states[n] = graph.start[n];
    }
    return graph;
}

static void set_state(Graph *graph, size_t i, OrtValue *value) {
    if (graph->states[i] != graph->start[i]) ort->ReleaseValue(graph->states[i]);
    graph->states[i] = value;
}

static void run(Graph *graph, float *audio, size_t n_samples, float *result, size_t n_results) {
    const OrtValue *given[MOST_STATES + 1];
    OrtValue *found[MOST_STATES + 1] = {NULL}, *tensor;
    int64_t shape[] = {1, (int64_t)n_samples};
    check(ort->CreateTensorWithDataAsOrtValue(memory, audio, n_samples * sizeof *audio, shape, 2,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &tensor));
    given[0] = tensor;
    for (size_t i = 0; i < graph->n_states; i++) given[i + 1] = graph->states[i];
    check(ort->Run(graph->session, NULL, graph->inputs, given, graph->n_states + 1, graph->outputs, graph->n_states + 1,
                   found));
    void *data;
    check(ort->GetTensorMutableData(found[0], &data));
    memcpy(result, data, n_results * sizeof *result);
    ort->ReleaseValue(tensor);
    ort->ReleaseValue(found[0]);
    for (size_t i = 0; i < graph->n_states; i++) set_state(graph, i, found[i + 1]);
}

/* --- whether somebody speaks -------------------------------------------------------------------------------------- */

typedef struct {
    Graph graph;
    size_t chunk_samples, n_waiting;
    float *waiting;
    bool recent[RECENT_CHUNKS];
    long n_chunks, last_voiced, onset; /* the chunk that the latest utterance starts with */
    int hang;
} Voice;

static bool hear(Voice *voice, const float *audio, size_t n_samples) { /* whether an utterance begins */
    bool begins = false;
    for (size_t i = 0; i < n_samples; i++) {
        voice->waiting[voice->n_waiting++] = audio[i];
        if (voice->n_waiting < voice->chunk_samples) continue;
        float probability;
        run(&voice->graph, voice->waiting, voice->chunk_samples, &probability, 1);
        voice->n_waiting = 0;
        voice->recent[voice->n_chunks++ % RECENT_CHUNKS] = probability >= VOICED;
        int n_voiced = 0, before = voice->hang;
        for (int k = 0; k < RECENT_CHUNKS; k++) n_voiced += voice->recent[k];
        if (n_voiced < LEAST_VOICED) {
            voice->hang = before > 0 ? before - 1 : 0;
            continue;
        }
        if (before == 0) {
            long first = voice->n_chunks - RECENT_CHUNKS - MARGIN_CHUNKS;
            long ended = voice->last_voiced ? voice->last_voiced + MARGIN_CHUNKS : 0;
            voice->onset = first > ended ? first : ended;
            begins = true;
        }
        voice->hang = HANG_CHUNKS;
        voice->last_voiced = voice->n_chunks;
    }
    return begins;
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

typedef struct {
    Graph graph;
    size_t step_samples, window_samples, n_labels;
    char *labels[MOST_LABELS];
    double arousal[MOST_LABELS], temperature, unsure_below, rate; /* arousal: -1 for labels that are neither */
    bool streams;
    float *window, *skipped[MOST_SKIPPED]; /* of a window graph; of a stream graph, what the model did not run in */
    size_t n_skipped, most_skipped;
} Model;

static Model load_model(const char *path) {
    Model model = {.graph = load(path, "probabilities")};
    const char *m = model.graph.metadata, *judgement = member(m, "judgement");
    const char *mode = member(m, "mode"), *labels = member(m, "labels"), *needs_voice = member(judgement, "needs_voice");
    if (!labels || member(m, "kind")) fail("%s: no model of audio", path);
    if (needs_voice && *needs_voice == 'f') fail("%s: judges any sound; this example has voices only", path);
    model.streams = mode && !strncmp(mode, "\"stream", 7);
    model.step_samples = (size_t)number(m, "step_samples", 0);
    model.window_samples = (size_t)number(m, "window_samples", 0);
    model.rate = number(member(m, "features"), "sample_rate", 0);
    model.temperature = number(judgement, "temperature", 1);
    model.unsure_below = number(judgement, "unsure_below", 0);
    const char *sides = member(judgement, "arousal");
    if (!sides) sides = "{\"angry\":1,\"fear\":1,\"happy\":1,\"surprise\":1,\"neutral\":0,\"calm\":0,\"sad\":0}";
    for (const char *at = space(labels + 1); *at != ']'; at = space(after(at))) {
        if (model.n_labels == MOST_LABELS) fail("%s: more than %d labels", path, MOST_LABELS);
        model.labels[model.n_labels] = text(at);
        model.arousal[model.n_labels] = number(sides, model.labels[model.n_labels], -1);
        model.n_labels++;
    }
    model.most_skipped = (size_t)ceil(ONSET_S * model.rate / (double)model.step_samples);
    if (model.most_skipped > MOST_SKIPPED) fail("%s: steps of %zu samples are too short", path, model.step_samples);
    model.window = calloc(model.window_samples, sizeof(float));
    for (size_t i = 0; i < model.most_skipped; i++) model.skipped[i] = calloc(model.step_samples, sizeof(float));
    if (model.streams) { /* it starts as after one window of silence */
        float ignored[MOST_LABELS], *silence = calloc(model.step_samples, sizeof *silence);
        for (size_t n = 0; n < model.window_samples; n += model.step_samples)
            run(&model.graph, silence, model.step_samples, ignored, model.n_labels);
        free(silence);
        for (size_t i = 0; i < model.graph.n_states; i++) {
            ort->ReleaseValue(model.graph.start[i]);
            model.graph.start[i] = model.graph.states[i];
        }
    }
    return model;
}

static void skip(Model *model, const float *audio) { /* a step in which the model does not run */
    size_t size = model->step_samples, rest = model->window_samples - size;
    if (!model->streams) {
        memmove(model->window, model->window + size, rest * sizeof(float));
        memcpy(model->window + rest, audio, size * sizeof(float));
        return;
    }
    if (model->n_skipped == model->most_skipped) { /* the oldest goes */
        float *oldest = model->skipped[0];
        memmove(model->skipped, model->skipped + 1, (--model->n_skipped) * sizeof *model->skipped);
        model->skipped[model->n_skipped] = oldest;
    }
    memcpy(model->skipped[model->n_skipped++], audio, size * sizeof(float));
}

static void begin_utterance(Model *model) {
    float ignored[MOST_LABELS];
    if (!model->streams) return;
    for (size_t i = 0; i < model->graph.n_states; i++)
        if (!model->graph.lasting[i]) set_state(&model->graph, i, model->graph.start[i]);
    for (size_t i = 0; i < model->n_skipped; i++)
        run(&model->graph, model->skipped[i], model->step_samples, ignored, model->n_labels);
    model->n_skipped = 0;
}

static void step(Model *model, float *audio, float *probabilities) {
    if (model->streams) {
        model->n_skipped = 0;
        run(&model->graph, audio, model->step_samples, probabilities, model->n_labels);
        return;
    }
    skip(model, audio);
    run(&model->graph, model->window, model->window_samples, probabilities, model->n_labels);
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1000.0 * (double)now.tv_sec + (double)now.tv_nsec / 1e6;
}

static void print_answer(const Model *model, const float *probabilities) {
    double q[MOST_LABELS] = {0}, top = 0, total = 0, sum = 0, agitated = 0, lowest = 1, highest = 0;
    size_t best = 0, n = model->n_labels;
    for (size_t i = 0; i < n; i++) top = fmax(top, probabilities[i]);
    for (size_t i = 0; i < n; i++) total += q[i] = pow(fmax(probabilities[i], 0) / top, 1 / model->temperature);
    for (size_t i = 0; i < n; i++) {
        q[i] = model->temperature == 1 ? probabilities[i] : q[i] / total;
        if (q[i] > q[best]) best = i;
        if (model->arousal[i] < 0) continue;
        sum += q[i];
        agitated += q[i] * model->arousal[i];
        lowest = fmin(lowest, model->arousal[i]);
        highest = fmax(highest, model->arousal[i]);
    }
    if (q[best] < model->unsure_below) printf("\"label\": null, \"reason\": \"unsure\", ");
    else printf("\"label\": \"%s\", \"reason\": null, ", model->labels[best]);
    if (lowest < 0.5 && highest > 0.5 && sum > 0) printf("\"arousal\": %.6f, ", fmin(agitated / sum, 1));
    else printf("\"arousal\": null, ");
    printf("\"probabilities\": {");
    for (size_t i = 0; i < n; i++) printf("%s\"%s\": %.6f", i ? ", " : "", model->labels[i], q[i]);
    printf("}, ");
}

/* --- audio: 16-bit samples -------------------------------------------------------------------------------------------- */

static FILE *open_audio(const char *path, double rate, unsigned *n_channels) {
    unsigned char head[12], chunk[8], format[16];
    *n_channels = 1;
    if (!strcmp(path, "-")) return stdin;
    FILE *file = fopen(path, "rb");
    if (!file) fail("%s: cannot be read", path);
    if (fread(head, 12, 1, file) != 1 || memcmp(head, "RIFF", 4) || memcmp(head + 8, "WAVE", 4)) fail("%s: no WAV file", path);
    while (fread(chunk, 8, 1, file) == 1 && memcmp(chunk, "data", 4)) {
        long size = (long)(chunk[4] | chunk[5] << 8 | chunk[6] << 16 | (uint32_t)chunk[7] << 24), used = 0;
        if (!memcmp(chunk, "fmt ", 4) && size >= 16 && fread(format, used = 16, 1, file) == 1) {
            uint32_t found = format[4] | format[5] << 8 | format[6] << 16 | (uint32_t)format[7] << 24;
            *n_channels = format[2] | format[3] << 8;
            if (format[14] != 16 || format[0] != 1 || *n_channels == 0) fail("%s: expected 16-bit PCM", path);
            if (found != rate) fail("%s: %u Hz; the model takes %g: resample it first", path, found, rate);
        }
        fseek(file, size + size % 2 - used, SEEK_CUR);
    }
    return file;
}

static bool read_step(FILE *file, unsigned n_channels, float *audio, size_t n_samples) {
    for (size_t i = 0; i < n_samples; i++) {
        float sum = 0;
        for (unsigned c = 0; c < n_channels; c++) {
            unsigned char bytes[2];
            if (fread(bytes, 2, 1, file) != 1) return false;
            sum += (float)(int16_t)(bytes[0] | bytes[1] << 8) / 32768;
        }
        audio[i] = sum / (float)n_channels;
    }
    return true;
}

/* A high-pass takes a constant in the signal away. What precedes the first sample is taken to be as it is. */

typedef struct {
    double pole, input, output;
    bool begun;
} HighPass;

static void filter(HighPass *pass, float *audio, size_t n_samples) {
    for (size_t i = 0; i < n_samples; i++) {
        pass->output = pass->pole * (pass->output + audio[i] - (pass->begun ? pass->input : audio[i]));
        pass->input = audio[i];
        pass->begun = true;
        audio[i] = (float)pass->output;
    }
}

int main(int n_arguments, char **arguments) {
    if (n_arguments != 4) fail("usage: listen MODEL.onnx VOICE.onnx CLIP.wav, or - for 16-bit mono PCM on stdin");
    ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (!ort) fail("the library is older than the header");
    check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "edgeemo", &env));
    check(ort->GetAllocatorWithDefaultOptions(&allocator));
    check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    Model model = load_model(arguments[1]);
    Voice voice = {.graph = load(arguments[2], "voice")};
    voice.chunk_samples = (size_t)number(voice.graph.metadata, "chunk_samples", 0);
    if (!voice.chunk_samples || number(voice.graph.metadata, "sample_rate", 0) != model.rate)
        fail("%s: no voice detector for %g Hz", arguments[2], model.rate);
    voice.waiting = calloc(voice.chunk_samples, sizeof(float));

    HighPass high_pass = {.pole = exp(-2 * 3.14159265358979323846 * CUTOFF_HZ / model.rate)};
    unsigned n_channels;
    FILE *file = open_audio(arguments[3], model.rate, &n_channels);
    float *audio = calloc(model.step_samples, sizeof(float)), probabilities[MOST_LABELS];
    double start_s = -1; /* of the utterance that is going on */
    int n_utterances = 0;
    for (size_t n = 1; read_step(file, n_channels, audio, model.step_samples); n++) {
        double start_ms = now_ms();
        filter(&high_pass, audio, model.step_samples);
        bool begins = hear(&voice, audio, model.step_samples), paused = voice.hang == 0;
        double time_s = (double)(n * model.step_samples) / model.rate, before_s = time_s - model.step_samples / model.rate;
        if (begins) {
            start_s = (double)(voice.onset * (long)voice.chunk_samples) / model.rate;
        } else if (start_s >= 0 && time_s - start_s >= MAX_UTTERANCE_S) { /* it is cut before this step */
            begins = true;
            start_s = before_s;
        }
        if (begins) begin_utterance(&model);
        if (paused) start_s = -1;
        if (paused) skip(&model, audio);
        else step(&model, audio, probabilities);
        double model_ms = now_ms() - start_ms;
        printf("{\"event\": \"step\", \"time_s\": %.6f, \"utterance\": %d, \"paused\": %s, ",
               time_s, n_utterances += begins, paused ? "true" : "false");
        if (paused) printf("\"label\": null, \"reason\": \"no speech\", \"arousal\": null, \"probabilities\": {}, ");
        else print_answer(&model, probabilities);
        printf("\"model_ms\": %.4f}\n", model_ms);
        fflush(stdout);
    }
    return 0;
}
