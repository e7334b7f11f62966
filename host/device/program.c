/* Kernels from source: expansion, building, and a cache of built programs.

   Source: kernels/<file>.cl as embedded in the library, or from $CONVOY_KERNEL_DIR; each line `#include
   "x.clh"` is replaced by that file's text, so that drivers never look for files. $CONVOY_KERNEL_OPTIONS adds
   to the options of every build: -cl-opt-disable, where a driver's optimizer is suspected.

   Cache: <cache folder>/programs/<key>.bin, where the key hashes format version, expanded source, options,
   platform, device and driver. Layout: 8 bytes "CVYPROG1", 32 hexadecimal digits of the binary's hash, the
   binary. Entries are written beside and renamed into place, so several processes can share the folder. A
   missing, foreign, truncated or corrupt entry, or one that the driver refuses, is built from source and
   written again: never an error. An entry is written as soon as its program is built, so that nothing is left
   to do when the device closes, and a run that is killed has kept what it built. Drivers that keep built
   kernels themselves (CVY_QUIRK_OWN_CACHE) are left to do so. CONVOY_CACHE=1 caches every program on every
   driver, CONVOY_CACHE=0 none. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "device/embedded.h"
#include "device/opencl.h"

#define MAGIC "CVYPROG1"
enum { MAGIC_SIZE = 8, DIGEST_SIZE = 32, HEADER_SIZE = MAGIC_SIZE + DIGEST_SIZE, MAX_BINARY = 256 << 20 };
#define COMMON_OPTIONS "-cl-std=CL1.2 -cl-mad-enable"

struct cvy_program {
    cl_program handle;
    char *file, *options;
    cvy_program *next;
};

/* ---- Source ---- */

/* "": there is no such file. */
static const char *embedded_source(const char *name) {
    for (const cvy_embedded *kernel = cvy_embedded_kernels; kernel->name; kernel++)
        if (!strcmp(kernel->name, name))
            return kernel->source;
    return "";
}

static convoy_status read_source(const char *name, char **source) {
    const char *folder = getenv("CONVOY_KERNEL_DIR");
    if (folder && *folder) {
        size_t size = 0;
        char *path = cvy_path_join(folder, name);
        convoy_status status = cvy_file_read(path, 16 << 20, source, &size);
        free(path);
        return !status ? status : cvy_fail_in(status, "CONVOY_KERNEL_DIR");
    }
    const char *embedded = embedded_source(name);
    if (!*embedded)
        return cvy_fail(CONVOY_DEVICE, "there is no kernel file %s in the library", name);
    *source = strdup(embedded);
    return *source ? CONVOY_OK : cvy_fail_memory("a kernel's source", strlen(embedded));
}

convoy_status cvy_kernel_sources(cvy_hash *hash) {
    convoy_status status = CONVOY_OK;
    for (const cvy_embedded *kernel = cvy_embedded_kernels; kernel->name && !status; kernel++) {
        char *source = NULL;
        status = read_source(kernel->name, &source);
        if (!status)
            cvy_hash_add_text(hash, source);
        free(source);
    }
    return status;
}

static convoy_status expand(const char *name, int depth, cvy_text *out) {
    char *source = NULL;
    if (depth > 8)
        return cvy_fail(CONVOY_DEVICE, "kernel file %s: includes are nested too deep", name);
    convoy_status status = read_source(name, &source);
    for (char *line = source; !status && line && *line;) {
        char *end = strchr(line, '\n');
        size_t length = end ? (size_t)(end - line) : strlen(line);
        char included[128];
        if (length < sizeof included && sscanf(line, "#include \"%127[^\"\n]\"", included) == 1)
            status = expand(included, depth + 1, out);
        else
            cvy_text_add(out, "%.*s\n", (int)length, line);
        line = end ? end + 1 : line + length;
    }
    free(source);
    return status;
}

static bool has_prefix(const char *name, const char *const *prefixes) {
    for (; *prefixes; prefixes++)
        if (!strncmp(name, *prefixes, strlen(*prefixes)))
            return true;
    return false;
}

void cvy_kernels_digest(const char *const *prefixes, char hex[33]) {
    cvy_hash *hash = cvy_hash_create();
    for (const cvy_embedded *kernel = cvy_embedded_kernels; kernel->name; kernel++) {
        const size_t length = strlen(kernel->name);
        const bool included = length > 4 && !strcmp(kernel->name + length - 4, ".clh");
        char *source = NULL;
        if (!included && !has_prefix(kernel->name, prefixes))
            continue;
        cvy_hash_add_text(hash, kernel->name);
        if (!read_source(kernel->name, &source))
            cvy_hash_add_text(hash, source);
        free(source);
    }
    cvy_hash_finish(hash, hex);
}

/* With `declared`, the built-in functions' declarations go first, and take the place of Clang's header. */
static convoy_status read_program(const char *file, bool declared, cvy_text *source) {
    char name[128];
    snprintf(name, sizeof name, "%s.cl", file);
    convoy_status status = declared ? expand("builtins.clh", 0, source) : CONVOY_OK;
    if (declared)
        cvy_text_add(source, "#line 1\n");
    return status ? status : expand(name, 0, source);
}

/* ---- Cache ---- */

static void digest(const void *data, size_t size, char hex[33]) {
    cvy_hash *hash = cvy_hash_create();
    cvy_hash_add(hash, data, size);
    cvy_hash_finish(hash, hex);
}

/* Where this program's binary is kept; NULL: nowhere. */
static char *cache_path(const convoy_device *device, const char *source, const char *options) {
    const char *wish = getenv("CONVOY_CACHE");
    if (wish && *wish ? !strcmp(wish, "0")
                      : device->traits.quirks & (CVY_QUIRK_INTERPRETS | CVY_QUIRK_OWN_CACHE))
        return NULL;
    char *root = cvy_cache_folder(), key[33], name[48];
    if (!root)
        return NULL;
    cvy_hash *hash = cvy_hash_create();
    const char *parts[] = {MAGIC,
                           source,
                           options,
                           device->info.platform,
                           device->info.vendor,
                           device->info.name,
                           device->info.driver,
                           device->info.opencl_version};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        cvy_hash_add_text(hash, parts[i]);
    cvy_hash_finish(hash, key);
    snprintf(name, sizeof name, "%s.bin", key);
    char *folder = cvy_path_join(root, "programs");
    char *path = !cvy_folder_create(folder) ? cvy_path_join(folder, name) : NULL;
    free(folder);
    free(root);
    return path;
}

static cl_program load_binary(convoy_device *device, const char *path, const char *options) {
    char *data = NULL, hex[33];
    size_t size = 0;
    cl_program program = NULL;
    if (!cvy_file_exists(path) || cvy_file_read_own(path, MAX_BINARY, &data, &size) != CONVOY_OK)
        return NULL;
    if (size <= HEADER_SIZE || memcmp(data, MAGIC, MAGIC_SIZE) != 0)
        goto done;
    digest(data + HEADER_SIZE, size - HEADER_SIZE, hex);
    if (memcmp(hex, data + MAGIC_SIZE, DIGEST_SIZE) != 0)
        goto done;
    const unsigned char *binary = (const unsigned char *)data + HEADER_SIZE;
    size_t binary_size = size - HEADER_SIZE;
    cl_int code = CL_SUCCESS, binary_status = CL_SUCCESS;
    program = clCreateProgramWithBinary(device->context, 1, &device->id, &binary_size, &binary,
                                        &binary_status, &code);
    if (code == CL_SUCCESS && binary_status == CL_SUCCESS)
        code = CVY_CALL(device, clBuildProgram, program, 1, &device->id, options, NULL, NULL);
    if (program && (code != CL_SUCCESS || binary_status != CL_SUCCESS)) {
        clReleaseProgram(program);
        program = NULL;
    }
done:
    if (!program)
        cvy_debug("the cached program %s is of no use here and is built again", path);
    free(data);
    return program;
}

static void save_binary(cl_program program, const char *path) {
    size_t size = 0;
    unsigned char *binary = NULL;
    char hex[33];
    cvy_writer *writer = NULL;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS ||
        size == 0 || size > MAX_BINARY - HEADER_SIZE || !(binary = malloc(size)))
        return;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS &&
        !cvy_writer_open(path, &writer)) {
        digest(binary, size, hex);
        if (!cvy_writer_write(writer, MAGIC, MAGIC_SIZE) && !cvy_writer_write(writer, hex, DIGEST_SIZE) &&
            !cvy_writer_write(writer, binary, size)) {
            if (cvy_writer_commit(writer))
                cvy_debug("not cached: %s", convoy_error_message());
        } else
            cvy_writer_abandon(writer);
    }
    free(binary);
}

/* ---- Building ---- */

void cvy_device_observe_building(convoy_device *device, void (*observer)(void *, const cvy_building *),
                                 void *context) {
    device->observer = observer;
    device->observer_context = context;
}

double cvy_building_start(convoy_device *device, const char *file) {
    device->building.file = file;
    if (device->observer)
        device->observer(device->observer_context, &device->building);
    device->building_processor = cvy_thread_seconds();
    return cvy_seconds();
}

void cvy_building_end(convoy_device *device, double start) {
    device->building.seconds += cvy_seconds() - start;
    device->building.slowest =
        fmax(device->building.slowest, cvy_thread_seconds() - device->building_processor);
}

const cvy_building *cvy_device_building(const convoy_device *device) {
    return &device->building;
}

/* Some compilers read decimal points by the locale: the C locale holds while they work. */
static cl_int build_in_c_locale(convoy_device *device, cl_program program, const char *options) {
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t before = c ? uselocale(c) : (locale_t)0;
    cl_int code = CVY_CALL(device, clBuildProgram, program, 1, &device->id, options, NULL, NULL);
    if (c) {
        uselocale(before);
        freelocale(c);
    }
    return code;
}

static convoy_status fail_build(convoy_device *device, cl_program program, cl_int code, const char *file,
                                const char *options) {
    size_t size = 0;
    char *log = NULL;
    clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size);
    log = calloc(1, size + 1);
    if (log && size)
        clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, size, log, NULL);
    convoy_status status =
        cvy_fail(CONVOY_DEVICE, "%s could not build %s.cl with \"%s\": %s (%d)\n%s", device->info.name, file,
                 options, cvy_opencl_error(code), (int)code, log && *log ? log : "(the build log is empty)");
    free(log);
    return status;
}

static void add_options(const char *options, bool declared, cvy_text *all) {
    const char *further = getenv("CONVOY_KERNEL_OPTIONS");
    cvy_text_add(all, COMMON_OPTIONS "%s%s", *options ? " " : "", options);
    if (declared)
        cvy_text_add(all, " -D_OPENCL_H_");
    if (further && *further)
        cvy_text_add(all, " %s", further);
}

static convoy_status compile(convoy_device *device, const char *file, const cvy_text *source,
                             const char *options, cl_program *program) {
    cl_int code = CL_SUCCESS;
    const char *text = source->data;
    *program = clCreateProgramWithSource(device->context, 1, &text, &source->length, &code);
    if (code != CL_SUCCESS)
        return cvy_fail_opencl(code, "a program from %s.cl", file);
    code = build_in_c_locale(device, *program, options);
    if (code == CL_SUCCESS)
        return CONVOY_OK;
    convoy_status status = fail_build(device, *program, code, file, options);
    clReleaseProgram(*program);
    *program = NULL;
    return status;
}

static convoy_status build_as(convoy_device *device, const char *file, const char *options, bool declared,
                              cl_program *program) {
    cvy_text source = {0}, all_options = {0};
    char *path = NULL;
    const double start = cvy_seconds();
    add_options(options, declared, &all_options);
    convoy_status status = read_program(file, declared, &source);
    if (status)
        goto done;
    path = cache_path(device, source.data, all_options.data);
    *program = path ? load_binary(device, path, all_options.data) : NULL;
    if (!*program) {
        status = cvy_options_check(file, source.data, options);
        if (!status)
            status = compile(device, file, &source, all_options.data, program);
        if (!status && path)
            save_binary(*program, path);
    }
    if (!status)
        cvy_debug("%.0f ms for %s.cl with %s", 1e3 * (cvy_seconds() - start), file, all_options.data);
done:
    free(path);
    cvy_text_free(&source);
    cvy_text_free(&all_options);
    return status;
}

static convoy_status build(convoy_device *device, const char *file, const char *options,
                           cl_program *program) {
    const bool declared = device->traits.quirks & CVY_QUIRK_LONG_HEADER;
    const double start = cvy_building_start(device, file);
    convoy_status status = build_as(device, file, options, declared, program);
    if (status && declared) {
        cvy_debug("%s.cl is built with the driver's own declarations: %s", file, convoy_error_message());
        status = build_as(device, file, options, false, program);
    }
    cvy_building_end(device, start);
    return status;
}

static convoy_status get_program(convoy_device *device, const char *file, const char *options,
                                 cl_program *handle) {
    for (cvy_program *known = device->programs; known; known = known->next)
        if (!strcmp(known->file, file) && !strcmp(known->options, options)) {
            *handle = known->handle;
            return CONVOY_OK;
        }
    cvy_program *program = calloc(1, sizeof *program);
    if (!program)
        return cvy_fail_memory("a program", sizeof *program);
    program->file = strdup(file);
    program->options = strdup(options);
    convoy_status status = program->file && program->options ? build(device, file, options, &program->handle)
                                                             : cvy_fail_memory("a program", strlen(options));
    if (status) {
        free(program->file);
        free(program->options);
        free(program);
        return status;
    }
    program->next = device->programs;
    device->programs = program;
    *handle = program->handle;
    return CONVOY_OK;
}

/* ---- Kernels ---- */

static convoy_status make_kernel(convoy_device *device, const char *file, const char *function,
                                 const char *options, cvy_kernel **out) {
    cl_program program = NULL;
    cl_int code = CL_SUCCESS;
    cl_uint arguments = 0;
    convoy_status status = get_program(device, file, options, &program);
    if (status)
        return status;
    cvy_kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel)
        return cvy_fail_memory("a kernel", sizeof *kernel);
    kernel->device = device;
    kernel->file = strdup(file);
    kernel->function = strdup(function);
    kernel->options = strdup(options);
    cvy_call_begins(device, "clCreateKernel");
    kernel->handle = clCreateKernel(program, function, &code);
    cvy_call_is_over(device, code);
    if (code == CL_SUCCESS)
        code = clGetKernelInfo(kernel->handle, CL_KERNEL_NUM_ARGS, sizeof arguments, &arguments, NULL);
    if (code == CL_SUCCESS)
        code = clGetKernelWorkGroupInfo(kernel->handle, device->id, CL_KERNEL_WORK_GROUP_SIZE,
                                        sizeof kernel->max_work_group, &kernel->max_work_group, NULL);
    if (code == CL_SUCCESS)
        code = clGetKernelWorkGroupInfo(kernel->handle, device->id, CL_KERNEL_COMPILE_WORK_GROUP_SIZE,
                                        sizeof kernel->required, kernel->required, NULL);
    if (code != CL_SUCCESS || !kernel->file || !kernel->function || !kernel->options) {
        status = cvy_fail_opencl(code, "kernel %s of %s.cl", function, file);
        if (kernel->handle)
            clReleaseKernel(kernel->handle);
        free(kernel->file);
        free(kernel->function);
        free(kernel->options);
        free(kernel);
        return status;
    }
    kernel->argument_count = arguments;
    *out = kernel;
    return CONVOY_OK;
}

/* FNV-1a over the three names: looked up at each call of a simple op, so it must cost next to nothing. */
static unsigned bucket_of(const char *file, const char *function, const char *options) {
    const char *names[] = {file, function, options};
    unsigned hash = 2166136261u;
    for (int i = 0; i < 3; i++)
        for (const char *c = names[i]; *c; c++)
            hash = (hash ^ (unsigned char)*c) * 16777619u;
    return (hash ^ hash >> 16) & 255;
}

convoy_status cvy_kernel_get(convoy_device *device, const char *file, const char *function,
                             const char *options, cvy_kernel **kernel) {
    if (!device->id)
        return cvy_fail(CONVOY_DEVICE, "the host has no kernels (%s of %s.cl was asked for)", function, file);
    cvy_kernel **bucket = &device->kernels[bucket_of(file, function, options)];
    for (cvy_kernel *known = *bucket; known; known = known->next)
        if (!strcmp(known->function, function) && !strcmp(known->file, file) &&
            !strcmp(known->options, options)) {
            *kernel = known;
            return CONVOY_OK;
        }
    convoy_status status = make_kernel(device, file, function, options, kernel);
    if (status)
        return status;
    (*kernel)->next = *bucket;
    *bucket = *kernel;
    device->building.all++;
    return CONVOY_OK;
}

int cvy_vector_width(const convoy_device *device) {
    return cvy_vector_width_of(&device->traits);
}

convoy_status cvy_kernel_get_simple(convoy_device *device, const char *file, const char *function,
                                    cvy_kernel **kernel) {
    char include[128];
    snprintf(include, sizeof include, "\"%s.cl\"", file);
    const bool common = strstr(embedded_source("simple.cl"), include);
    return cvy_kernel_build(device, common ? "simple" : file, function,
                            CVY_OPTIONS({"VW", cvy_vector_width(device)}), kernel);
}

size_t cvy_kernel_max_work_group(const cvy_kernel *kernel) {
    return kernel->max_work_group;
}

void cvy_programs_release(convoy_device *device) {
    device->latest = NULL;
    for (size_t b = 0; b < sizeof device->kernels / sizeof device->kernels[0]; b++)
        while (device->kernels[b]) {
            cvy_kernel *kernel = device->kernels[b];
            device->kernels[b] = kernel->next;
            CVY_CALL(device, clReleaseKernel, kernel->handle);
            free(kernel->file);
            free(kernel->function);
            free(kernel->options);
            free(kernel);
        }
    while (device->programs) {
        cvy_program *program = device->programs;
        device->programs = program->next;
        CVY_CALL(device, clReleaseProgram, program->handle);
        free(program->file);
        free(program->options);
        free(program);
    }
}
