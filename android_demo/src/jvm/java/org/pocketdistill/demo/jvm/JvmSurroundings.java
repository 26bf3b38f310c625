package org.pocketdistill.demo.jvm;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

import org.pocketdistill.demo.instrument.Surroundings;

/** A Linux machine that is no phone: no thermal readings. */
final class JvmSurroundings implements Surroundings {
    @Override
    public long sinceBootNanos() {
        try {
            String seconds = Files.readString(Path.of("/proc/uptime")).split(" ")[0];
            return Math.round(Double.parseDouble(seconds) * 100) * 10_000_000L;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    @Override
    public int processId() {
        return (int) ProcessHandle.current().pid();
    }

    @Override
    public String abi() {
        String architecture = System.getProperty("os.arch");
        switch (architecture) {
            case "amd64":
                return "x86_64";
            case "aarch64":
                return "arm64-v8a";
            default:
                return architecture;
        }
    }

    @Override
    public Integer thermalStatus() {
        return null;
    }

    @Override
    public Double thermalHeadroom() {
        return null;
    }
}
