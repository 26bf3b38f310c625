"""`python -m bench.protocol` writes the schema files anew."""

from bench.protocol import write_schemas

if __name__ == "__main__":
    for path in write_schemas():
        print(path)
