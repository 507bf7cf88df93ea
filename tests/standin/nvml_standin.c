/* A stand-in for NVIDIA's libnvidia-ml.so.1, for tests on machines without a GPU.
 *
 * It has the functions that nvidia-ml-py asks for where the doctor uses it, with the structures
 * that nvidia-ml-py declares. What it answers stands in the text file named by NVML_STANDIN, one
 * key=value a line; see __init__.py. A key that is absent is NOT_SUPPORTED. Any value may be
 * "error N" (return that code), "hang" (never return) or "crash" (SIGSEGV).
 * Compiled with -DOLD it lacks what old drivers lack: memory version 2, process lists version 3.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ABSENT = -1, /* no such key; never leaves this library */
    SUCCESS = 0,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    ARGUMENT_VERSION_MISMATCH = 25,
    UNKNOWN = 999
};

#define VALUE_SIZE 256
#define MEMORY_V2 (sizeof(memory_v2) | (2u << 24))

typedef int result;
typedef void *device; /* 1 + index + 1000 * (1 + place of the MIG slice, if it is one) */
typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct {
    unsigned pid;
    unsigned long long used;
    unsigned gpu_instance, compute_instance;
} process_info;

/* The n-th value of a key: SUCCESS with the text in value, the error it tells, or ABSENT. */
static result nth(const char *key, unsigned n, char *value)
{
    char line[512];
    const char *path = getenv("NVML_STANDIN");
    FILE *file = path ? fopen(path, "r") : NULL;
    size_t length = strlen(key);
    result code = ABSENT;
    if (!file)
        return UNKNOWN;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, key, length) || line[length] != '=' || n--)
            continue;
        snprintf(value, VALUE_SIZE, "%s", line + length + 1);
        code = SUCCESS;
        if (!strncmp(value, "error ", 6))
            code = atoi(value + 6);
        break;
    }
    fclose(file);
    if (!code && !strcmp(value, "crash"))
        raise(SIGSEGV);
    while (!code && !strcmp(value, "hang"))
        sleep(1000);
    return code;
}

static result get(char *value, const char *format, ...)
{
    char key[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(key, sizeof key, format, arguments);
    va_end(arguments);
    return nth(key, 0, value);
}

static result supported(result code) { return code == ABSENT ? NOT_SUPPORTED : code; }

/* The key of a device's field, such as gpu.0.memory or gpu.0.mig.1.uuid. */
static const char *field(device handle, const char *name, char *key)
{
    uintptr_t number = (uintptr_t)handle;
    int index = (int)(number % 1000) - 1, slice = (int)(number / 1000) - 1;
    if (slice < 0)
        snprintf(key, 128, "gpu.%d.%s", index, name);
    else
        snprintf(key, 128, "gpu.%d.mig.%d.%s", index, slice, name);
    return key;
}

static result text_of(device handle, const char *name, char *out, unsigned size)
{
    char key[128], value[VALUE_SIZE];
    result code = nth(field(handle, name, key), 0, value);
    if (!code)
        snprintf(out, size, "%s", value);
    return supported(code);
}

/* What a key that need not be there forbids. */
static result forbidden(device handle, const char *name)
{
    char key[128], value[VALUE_SIZE];
    result code = nth(field(handle, name, key), 0, value);
    return code == ABSENT ? SUCCESS : code;
}

static result number_of(device handle, const char *name, unsigned long long *out)
{
    char key[128], value[VALUE_SIZE];
    result code = nth(field(handle, name, key), 0, value);
    if (!code)
        *out = strtoull(value, NULL, 10);
    return supported(code);
}

static result flag_of(device handle, const char *name, unsigned *out)
{
    unsigned long long number = 0;
    result code = number_of(handle, name, &number);
    if (!code)
        *out = (unsigned)number;
    return code;
}

static unsigned long long or_zero(device handle, const char *name)
{
    unsigned long long number = 0;
    return number_of(handle, name, &number) ? 0 : number;
}

result nvmlInitWithFlags(unsigned flags)
{
    char value[VALUE_SIZE];
    (void)flags;
    if (!get(value, "print")) { /* a driver library that chats on standard output */
        printf("%s\n", value);
        fflush(stdout);
    }
    result code = get(value, "init");
    return code == ABSENT ? SUCCESS : code;
}

result nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
result nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(result code)
{
    (void)code;
    return "an error of the stand-in";
}

result nvmlSystemGetDriverVersion(char *out, unsigned size)
{
    char value[VALUE_SIZE];
    result code = get(value, "driver");
    if (!code)
        snprintf(out, size, "%s", value);
    return supported(code);
}

result nvmlSystemGetCudaDriverVersion_v2(int *out)
{
    char value[VALUE_SIZE];
    result code = get(value, "cuda");
    if (!code)
        *out = atoi(value);
    return supported(code);
}

result nvmlSystemGetCudaDriverVersion(int *out) { return nvmlSystemGetCudaDriverVersion_v2(out); }

result nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size)
{
    char value[VALUE_SIZE];
    result code = get(value, "name.%u", pid);
    if (!code)
        snprintf(out, size, "%s", value);
    return code == ABSENT ? NOT_FOUND : code;
}

result nvmlDeviceGetCount_v2(unsigned *out)
{
    char value[VALUE_SIZE];
    result code = get(value, "count");
    if (!code)
        *out = (unsigned)atoi(value);
    return supported(code);
}

result nvmlDeviceGetHandleByIndex_v2(unsigned index, device *out)
{
    char value[VALUE_SIZE];
    unsigned count = 0;
    result code = get(value, "gpu.%u.handle", index);
    if (code && code != ABSENT)
        return code;
    if (nvmlDeviceGetCount_v2(&count) || index >= count)
        return INVALID_ARGUMENT;
    *out = (device)(uintptr_t)(1 + index);
    return SUCCESS;
}

result nvmlDeviceGetName(device handle, char *out, unsigned size)
{
    return text_of(handle, "name", out, size);
}

result nvmlDeviceGetUUID(device handle, char *out, unsigned size)
{
    return text_of(handle, "uuid", out, size);
}

result nvmlDeviceGetHandleByUUID(const char *uuid, device *out)
{
    char found[VALUE_SIZE];
    unsigned count = 0, index;
    result code = nvmlDeviceGetCount_v2(&count);
    for (index = 0; !code && index < count; index++) {
        code = nvmlDeviceGetHandleByIndex_v2(index, out);
        if (!code && !nvmlDeviceGetUUID(*out, found, sizeof found) && !strcmp(found, uuid))
            return SUCCESS;
    }
    return code ? code : NOT_FOUND;
}

result nvmlDeviceGetCudaComputeCapability(device handle, int *major, int *minor)
{
    char value[VALUE_SIZE] = "";
    result code = text_of(handle, "cc", value, sizeof value);
    if (!code && sscanf(value, "%d.%d", major, minor) != 2)
        return UNKNOWN;
    return code;
}

/* Version 1 counts what the driver reserves as used. */
result nvmlDeviceGetMemoryInfo(device handle, memory_v1 *out)
{
    result code = forbidden(handle, "memory");
    if (code)
        return code;
    code = number_of(handle, "total", &out->total);
    out->free = or_zero(handle, "free");
    out->used = or_zero(handle, "used") + or_zero(handle, "reserved");
    return code;
}

#ifndef OLD
result nvmlDeviceGetMemoryInfo_v2(device handle, memory_v2 *out)
{
    result code = forbidden(handle, "memory");
    if (!code)
        code = forbidden(handle, "memory_v2");
    if (code)
        return code;
    if (out->version != MEMORY_V2)
        return ARGUMENT_VERSION_MISMATCH;
    code = number_of(handle, "total", &out->total);
    out->reserved = or_zero(handle, "reserved");
    out->free = or_zero(handle, "free");
    out->used = or_zero(handle, "used");
    return code;
}
#endif

result nvmlDeviceGetDisplayActive(device handle, unsigned *out)
{
    return flag_of(handle, "display", out);
}

result nvmlDeviceGetComputeMode(device handle, unsigned *out)
{
    return flag_of(handle, "mode", out);
}

result nvmlDeviceGetDriverModel_v2(device handle, unsigned *current, unsigned *pending)
{
    result code = flag_of(handle, "model", current);
    *pending = *current;
    return code;
}

result nvmlDeviceGetMigMode(device handle, unsigned *current, unsigned *pending)
{
    result code = flag_of(handle, "mig", current);
    *pending = *current;
    return code;
}

result nvmlDeviceGetMaxMigDeviceCount(device handle, unsigned *out)
{
    return flag_of(handle, "mig.max", out);
}

result nvmlDeviceGetMigDeviceHandleByIndex(device handle, unsigned place, device *out)
{
    char value[VALUE_SIZE];
    uintptr_t parent = (uintptr_t)handle;
    if (get(value, "gpu.%u.mig.%u.uuid", (unsigned)parent - 1, place))
        return NOT_FOUND;
    *out = (device)(parent + 1000 * (1 + (uintptr_t)place));
    return SUCCESS;
}

/* Lines PID:BYTES or PID:BYTES:GPU_INSTANCE; BYTES "none" is what WDDM and WSL answer. */
static result processes(device handle, const char *name, unsigned *count, process_info *out)
{
    char key[128], value[VALUE_SIZE], bytes[64];
    unsigned found = 0, room = out ? *count : 0;
    result code;
    field(handle, name, key);
    for (;; found++) {
        process_info each = {0, 0, UINT32_MAX, UINT32_MAX};
        code = nth(key, found, value);
        if (code || !strcmp(value, "none"))
            break;
        if (sscanf(value, "%u:%63[^:]:%u", &each.pid, bytes, &each.gpu_instance) < 2)
            return UNKNOWN;
        each.used = strcmp(bytes, "none") ? strtoull(bytes, NULL, 10) : UINT64_MAX;
        if (found < room)
            out[found] = each;
    }
    if (code && !(code == ABSENT && found))
        return supported(code);
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

#define LIST(FUNCTION, NAME)                                                          \
    result FUNCTION(device handle, unsigned *count, process_info *out)                \
    {                                                                                 \
        return processes(handle, NAME, count, out);                                   \
    }
LIST(nvmlDeviceGetComputeRunningProcesses_v2, "process")
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, "graphics")
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, "mps")
#ifndef OLD
LIST(nvmlDeviceGetComputeRunningProcesses_v3, "process")
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, "graphics")
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, "mps")
#endif
