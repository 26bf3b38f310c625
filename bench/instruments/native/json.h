// As much JSON as a job needs: parse a document, and write strings. Throws std::runtime_error on anything malformed.
#pragma once
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace json {

struct Value {
    enum Kind { Null, Bool, Number, String, Array, Object } kind = Null;
    bool boolean = false;
    double number = 0;
    std::string text;
    std::vector<Value> items;
    std::map<std::string, Value> fields;

    const Value& operator[](const std::string& name) const {
        const auto found = fields.find(name);
        if (found == fields.end()) throw std::runtime_error("the job has no field " + name);
        return found->second;
    }
};

class Parser {
   public:
    explicit Parser(const std::string& text) : text_(text) {}

    Value document() {
        Value value = parse();
        skip_blanks();
        if (at_ != text_.size()) fail("more after the end");
        return value;
    }

   private:
    [[noreturn]] void fail(const std::string& what) const {
        throw std::runtime_error("the job is not valid JSON at byte " + std::to_string(at_) + ": " + what);
    }
    void skip_blanks() {
        while (at_ < text_.size() && isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    }
    char next() {
        if (at_ >= text_.size()) fail("it ends too early");
        return text_[at_];
    }
    void expect(char wanted) {
        if (next() != wanted) fail(std::string("expected ") + wanted);
        ++at_;
    }
    bool take(const std::string& word) {
        if (text_.compare(at_, word.size(), word) != 0) return false;
        at_ += word.size();
        return true;
    }
    Value parse() {
        skip_blanks();
        Value value;
        const char first = next();
        if (first == '{') return object();
        if (first == '[') return array();
        if (first == '"') {
            value.kind = Value::String;
            value.text = string();
        } else if (take("true") || take("false")) {
            value.kind = Value::Bool;
            value.boolean = first == 't';
        } else if (!take("null")) {
            char* end = nullptr;
            value.kind = Value::Number;
            value.number = strtod(text_.c_str() + at_, &end);
            if (end == text_.c_str() + at_) fail("expected a value");
            at_ = static_cast<size_t>(end - text_.c_str());
        }
        return value;
    }
    Value object() {
        Value value;
        value.kind = Value::Object;
        expect('{');
        for (skip_blanks(); next() != '}'; skip_blanks()) {
            if (!value.fields.empty()) expect(',');
            skip_blanks();
            const std::string name = string();
            skip_blanks();
            expect(':');
            value.fields[name] = parse();
        }
        ++at_;
        return value;
    }
    Value array() {
        Value value;
        value.kind = Value::Array;
        expect('[');
        for (skip_blanks(); next() != ']'; skip_blanks()) {
            if (!value.items.empty()) expect(',');
            value.items.push_back(parse());
        }
        ++at_;
        return value;
    }
    std::string string() {
        std::string result;
        expect('"');
        while (next() != '"') {
            char one = text_[at_++];
            if (one == '\\') {
                one = next();
                ++at_;
                if (one == 'u') {
                    // Names of tensors are all that can hold these, and this runner does not use them.
                    at_ += 4;
                    one = '?';
                } else if (one == 'n') {
                    one = '\n';
                } else if (one == 't') {
                    one = '\t';
                }
            }
            result += one;
        }
        ++at_;
        return result;
    }

    const std::string& text_;
    size_t at_ = 0;
};

inline std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (const unsigned char one : text) {
        char escaped[8];
        if (one == '"' || one == '\\') {
            result += '\\';
            result += static_cast<char>(one);
        } else if (one < 0x20) {
            snprintf(escaped, sizeof escaped, "\\u%04x", one);
            result += escaped;
        } else {
            result += static_cast<char>(one);
        }
    }
    return result + "\"";
}

}  // namespace json
