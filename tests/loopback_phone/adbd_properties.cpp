// Preloaded into Debian's adbd (34.0.5); fills two gaps of the Linux build.
//
// Properties: it has none, so `adb devices -l` would show no model. libbase's GetProperty is replaced; values come from
// the key=value file named by $ADBD_PROPERTIES.
// Address: it listens on every interface. A wildcard bind becomes loopback, and vsock is refused.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

// Plain data: the constructor may run before C++ statics exist.
static const char* properties_path;

__attribute__((constructor)) static void take_settings() {
    if (const char* path = getenv("ADBD_PROPERTIES")) properties_path = strdup(path);
    // The shells that adbd starts must not inherit them.
    unsetenv("LD_PRELOAD");
    unsetenv("ADBD_PROPERTIES");
}

namespace android::base {
std::string GetProperty(const std::string& key, const std::string& otherwise) {
    std::ifstream file(properties_path ? properties_path : "/dev/null");
    std::string line, value = otherwise;
    while (std::getline(file, line)) {
        const auto equals = line.find('=');
        if (equals == key.size() && line.compare(0, equals, key) == 0 && equals + 1 < line.size())
            value = line.substr(equals + 1);
    }
    errno = 0;
    return value;
}
}  // namespace android::base

extern "C" int bind(int descriptor, const struct sockaddr* address, socklen_t length) {
    static const auto real = reinterpret_cast<int (*)(int, const struct sockaddr*, socklen_t)>(dlsym(RTLD_NEXT, "bind"));
    if (address->sa_family == AF_VSOCK) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    if (address->sa_family == AF_INET) {
        sockaddr_in copy;
        memcpy(&copy, address, sizeof copy);
        if (copy.sin_addr.s_addr == htonl(INADDR_ANY)) copy.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return real(descriptor, reinterpret_cast<sockaddr*>(&copy), sizeof copy);
    }
    if (address->sa_family == AF_INET6) {
        sockaddr_in6 copy;
        memcpy(&copy, address, sizeof copy);
        if (IN6_IS_ADDR_UNSPECIFIED(&copy.sin6_addr)) inet_pton(AF_INET6, "::ffff:127.0.0.1", &copy.sin6_addr);
        return real(descriptor, reinterpret_cast<sockaddr*>(&copy), sizeof copy);
    }
    return real(descriptor, address, length);
}
