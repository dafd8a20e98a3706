# A REST API that streams, for those who want a web application firewall or a domain of their own: set rest_api. It costs
# by the request, and takes bodies of 4.5 MB at most, since Lambda gets them as base64.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html

locals {
  rest_apis   = var.rest_api == null ? [] : [var.rest_api]
  rest_domain = one([for api in local.rest_apis : api if api.domain_name != null])

  # In one document, since the provider can only say since 6.25 that an integration streams.
  rest_document = {
    openapi = "3.0.1"
    info    = { title = var.name, version = "1" }
    paths = { for path in ["/", "/{proxy+}"] : path => {
      x-amazon-apigateway-any-method = {
        parameters = [for name in regexall("[a-z]+", path) : { name = name, in = "path", required = true, schema = { type = "string" } }]
        responses  = {}
        x-amazon-apigateway-integration = {
          type                 = "aws_proxy"
          httpMethod           = "POST"
          uri                  = "arn:aws:apigateway:${var.region}:lambda:path/2021-11-15/functions/${aws_lambda_alias.live.arn}/response-streaming-invocations"
          responseTransferMode = "STREAM"
          timeoutInMillis      = var.timeout_seconds * 1000
        }
      }
    } }
    x-amazon-apigateway-binary-media-types = ["*/*"] # no body may be taken for text, and changed
    # What API Gateway itself says, in the shape of OpenAI's errors.
    x-amazon-apigateway-gateway-responses = { for name, said in {
      THROTTLED   = { type = "requests", code = "rate_limit_exceeded" }
      DEFAULT_4XX = { type = "invalid_request_error", code = null }
      DEFAULT_5XX = { type = "server_error", code = null }
      } : name => {
      responseTemplates = {
        "application/json" = "{\"error\": {\"message\": $context.error.messageString, \"type\": ${jsonencode(said.type)}, \"param\": null, \"code\": ${jsonencode(said.code)}}}"
      }
    } }
  }
}

resource "aws_api_gateway_rest_api" "rest" {
  count = length(local.rest_apis)

  name        = var.name
  description = "Trefoil, an OpenAI wrapper API; the function checks the caller's key"
  body        = jsonencode(local.rest_document)

  endpoint_configuration {
    types = ["REGIONAL"] # whose streams may be idle for five minutes, not for half of one
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_deployment" "rest" {
  count = length(local.rest_apis)

  rest_api_id = aws_api_gateway_rest_api.rest[0].id
  triggers    = { document = sha256(aws_api_gateway_rest_api.rest[0].body) }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_stage" "live" {
  #checkov:skip=CKV_AWS_73: traces cost by the request; each has a log line and a request id
  #checkov:skip=CKV_AWS_120: no answer may be given to another caller
  #checkov:skip=CKV2_AWS_4: logs of the execution hold headers, and so the callers' keys
  #checkov:skip=CKV2_AWS_77: which rules the firewall has is its owner's to say; no Java runs here
  #checkov:skip=CKV2_AWS_51: Lambda does not ask for a client certificate; who may call it, the permission says
  count = length(local.rest_apis)

  rest_api_id   = aws_api_gateway_rest_api.rest[0].id
  deployment_id = aws_api_gateway_deployment.rest[0].id
  stage_name    = "live"

  # No header, path, query or body, in each of which a caller's key may stand: nothing in it is a secret.
  dynamic "access_log_settings" {
    for_each = aws_cloudwatch_log_group.rest
    content {
      destination_arn = access_log_settings.value.arn
      format = jsonencode({
        time           = "$context.requestTime"
        request_id     = "$context.requestId"
        function_id    = "$context.integration.requestId" # the request_id in the function's own log
        client         = "$context.identity.sourceIp"
        method         = "$context.httpMethod"
        status         = "$context.status"
        refused        = "$context.error.responseType"
        firewall       = "$context.wafResponseCode"
        duration_ms    = "$context.responseLatency"
        response_bytes = "$context.responseLength"
      })
    }
  }

  depends_on = [aws_api_gateway_account.region]
}

resource "aws_api_gateway_method_settings" "all" {
  #checkov:skip=CKV_AWS_225: no answer may be given to another caller
  count = length(local.rest_apis)

  rest_api_id = aws_api_gateway_rest_api.rest[0].id
  stage_name  = aws_api_gateway_stage.live[0].stage_name
  method_path = "*/*"

  settings {
    throttling_rate_limit  = var.rest_api.requests_per_second
    throttling_burst_limit = var.rest_api.requests_per_second
    logging_level          = "OFF"
    data_trace_enabled     = false
    metrics_enabled        = false
  }
}

resource "aws_lambda_permission" "rest" {
  count = length(local.rest_apis)

  statement_id  = "RestApi"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.gateway.function_name
  qualifier     = aws_lambda_alias.live.name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.rest[0].execution_arn}/${aws_api_gateway_stage.live[0].stage_name}/*"
}

resource "aws_wafv2_web_acl_association" "rest" {
  count = length([for api in local.rest_apis : api if api.web_acl_arn != null])

  resource_arn = aws_api_gateway_stage.live[0].arn
  web_acl_arn  = var.rest_api.web_acl_arn
}

resource "aws_api_gateway_domain_name" "rest" {
  count = local.rest_domain == null ? 0 : 1

  domain_name              = local.rest_domain.domain_name
  regional_certificate_arn = local.rest_domain.certificate_arn
  security_policy          = "TLS_1_2"

  endpoint_configuration {
    types = ["REGIONAL"]
  }
}

# At the domain's root: below a path of its own, API Gateway would hand that path to the function too.
resource "aws_api_gateway_base_path_mapping" "rest" {
  count = length(aws_api_gateway_domain_name.rest)

  domain_name = aws_api_gateway_domain_name.rest[0].domain_name
  api_id      = aws_api_gateway_rest_api.rest[0].id
  stage_name  = aws_api_gateway_stage.live[0].stage_name
}

resource "aws_cloudwatch_log_group" "rest" {
  #checkov:skip=CKV_AWS_158: no content and no credential is logged; AWS encrypts with its own key
  count = length([for api in local.rest_apis : api if api.access_logs])

  name              = "/aws/apigateway/${var.name}"
  retention_in_days = var.log_retention_days
}

# One setting for all REST APIs of account and region: what API Gateway writes its logs as.
resource "aws_api_gateway_account" "region" {
  count = length(aws_iam_role.rest_logs)

  cloudwatch_role_arn = aws_iam_role.rest_logs[0].arn

  depends_on = [aws_iam_role_policy_attachment.rest_logs]
}

resource "aws_iam_role" "rest_logs" {
  count = length([for api in local.rest_apis : api if api.account_log_role])

  name               = "${var.name}-rest-logs"
  description        = "What API Gateway writes the logs of REST APIs as, in this account and region"
  assume_role_policy = data.aws_iam_policy_document.assume_rest_logs.json
}

data "aws_iam_policy_document" "assume_rest_logs" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["apigateway.amazonaws.com"]
    }
  }
}

# AWS's own, for all log groups: API Gateway refuses a role that may do less.
resource "aws_iam_role_policy_attachment" "rest_logs" {
  count = length(aws_iam_role.rest_logs)

  role       = aws_iam_role.rest_logs[0].name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}
