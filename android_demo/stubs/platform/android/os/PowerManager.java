package android.os;

/** What API 23 knows of this class and we use, plus two methods of API 29 and 30. */
public final class PowerManager {
    private PowerManager() {
        throw new UnsupportedOperationException();
    }

    /** API 29. */
    public native int getCurrentThermalStatus();

    /** API 30. */
    public native float getThermalHeadroom(int forecastSeconds);
}
