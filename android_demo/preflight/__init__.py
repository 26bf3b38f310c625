"""What a store refuses of an APK, found before it is uploaded. Reads the file itself; needs no Android SDK."""
